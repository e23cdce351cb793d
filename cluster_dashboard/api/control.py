"""/api/control: rate, preset, pause and fault profile."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Router

from cluster_dashboard.api.http.permissions import CONTROL, READ, actor_of
from cluster_dashboard.api.http.rate_limit import count_control
from cluster_dashboard.api.schemas import ControlChange, ControlState, PresetInfo
from scheduler.jobs.controls import change_control
from scheduler.models import Control
from scheduler.rules.presets import PRESETS

router = Router(tags=["control"])


@router.get("/control", auth=READ, response=ControlState, summary="How many jobs arrive, and whether they do")
def get_control(request: HttpRequest) -> ControlState:
    return _shown(Control.objects.get())


@router.patch("/control", auth=CONTROL, response=ControlState, summary="Change the rate, pause, or choose what breaks")
def patch_control(request: HttpRequest, change: ControlChange) -> ControlState:
    actor = actor_of(request)
    count_control(actor)
    return _shown(change_control(actor=actor, **change.model_dump()))


def _shown(control: Control) -> ControlState:
    return ControlState(
        rate_per_minute=control.rate_per_minute,
        preset=control.preset,
        paused=control.paused,
        fault_profile=control.fault_profile,
        presets=[
            PresetInfo(name=name, label=each.label, rate_per_minute=each.rate_per_minute)
            for name, each in PRESETS.items()
        ],
    )
