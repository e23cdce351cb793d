"""/api/generator: the workload that the generator submits, and its position. Its rate is set at /api/control."""

from __future__ import annotations

from datetime import datetime

from django.http import HttpRequest
from ninja import Router, Schema
from pydantic import Field

from cluster_dashboard.api.http.permissions import READ
from scheduler.loops.generator import workload
from scheduler.models import Control

router = Router(tags=["control"])


class GeneratorState(Schema):
    workload: str = Field(description="The profile or file that defines the jobs and their arrivals")
    shape: str = Field(description="The distribution of arrivals over time, such as poisson or replay")
    types: list[str] = Field(description="Job types that it submits")
    seed: int = Field(description="The same seed makes the same jobs")
    rate_per_minute: float
    paused: bool
    arrivals: int = Field(description="Jobs drawn so far")
    next_arrival_at: datetime | None = Field(description="Null during a pause, and before the first tick after it")


@router.get("/generator", auth=READ, response=GeneratorState, summary="The workload and position of the generator")
def get_generator(request: HttpRequest) -> GeneratorState:
    """The workload comes from the file or profile that GENERATOR_CONFIG names; the same seed makes the same jobs."""
    control, load = Control.objects.get(), workload()
    return GeneratorState(
        workload=load.name,
        shape=type(load.shape).__name__.lower(),
        types=sorted({row.type for row in load.mix.rows}),
        seed=control.seed,
        rate_per_minute=control.rate_per_minute,
        paused=control.paused,
        arrivals=control.arrivals,
        next_arrival_at=control.next_arrival_at,
    )
