"""/api/control: rate, preset, pause and fault profile."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import ConfigDict, Field, StrictBool

from cluster_dashboard.api.http.permissions import CONTROL, READ, actor_of
from cluster_dashboard.api.http.rate_limit import count_control
from cluster_dashboard.api.schemas import NUMBER, Input
from scheduler.jobs.controls import change_control
from scheduler.models import Control
from scheduler.rules.faults import FaultProfile
from scheduler.rules.presets import PRESETS, RATE_MAXIMUM, RATE_MINIMUM, Preset

router = Router(tags=["control"])


class PresetInfo(Schema):
    name: Preset
    label: str
    rate_per_minute: float


class ControlState(Schema):
    rate_per_minute: float
    preset: str = Field(description="The preset with this rate, or empty")
    paused: bool
    fault_profile: FaultProfile
    presets: list[PresetInfo]


class ControlChange(Input):
    """Changes the fields that are given. A preset sets the rate, so only one of the two may be given."""

    model_config = ConfigDict(
        json_schema_extra={
            "not": {
                "properties": {"rate_per_minute": {"type": "number"}, "preset": {"type": "string"}},
                "required": ["rate_per_minute", "preset"],
            }
        }
    )

    rate_per_minute: Annotated[float, Field(ge=RATE_MINIMUM, le=RATE_MAXIMUM, allow_inf_nan=False), NUMBER] | None = (
        None
    )
    preset: Preset | None = None
    paused: StrictBool | None = None
    fault_profile: FaultProfile | None = None


@router.get("/control", auth=READ, response=ControlState, summary="Read the rate, the pause and the fault profile")
def get_control(request: HttpRequest) -> ControlState:
    return _shown(Control.objects.get())


@router.patch("/control", auth=CONTROL, response=ControlState, summary="Change the rate, the pause or the faults")
def patch_control(request: HttpRequest, change: ControlChange) -> ControlState:
    actor = actor_of(request)
    count_control(actor)
    return _shown(change_control(actor=actor, **change.model_dump()))


def _shown(control: Control) -> ControlState:
    return ControlState(
        rate_per_minute=control.rate_per_minute,
        preset=control.preset,
        paused=control.paused,
        fault_profile=FaultProfile(control.fault_profile),
        presets=[
            PresetInfo(name=name, label=each.label, rate_per_minute=each.rate_per_minute)
            for name, each in PRESETS.items()
        ],
    )
