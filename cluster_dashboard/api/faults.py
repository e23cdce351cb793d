"""POST /api/gpus/N/faults: injects one fault at once, by the code that random faults and chaos use too."""

from __future__ import annotations

from typing import Annotated

from django.http import HttpRequest
from ninja import Path, Router, Schema
from ninja.responses import Status
from pydantic import Field

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.http.permissions import CHANGE_GPU, actor_of
from cluster_dashboard.api.http.problems import Problem
from cluster_dashboard.api.http.rate_limit import count_control
from cluster_dashboard.api.schemas import SMALLINT_MAXIMUM, Input
from gpu_tasks.faults.injection import HANG_SECONDS, NothingToHit
from gpu_tasks.faults.requests import inject
from gpu_tasks.processes.cluster_pids import OutOfReach
from scheduler.models import Gpu
from scheduler.rules.faults import FAULTS, FaultKind

router = Router(tags=["GPUs"])

HANG_MAXIMUM_SECONDS = 600.0


class Fault(Input):
    kind: FaultKind
    hang_seconds: Annotated[
        float, Field(gt=0, le=HANG_MAXIMUM_SECONDS, description="Duration of worker_hung, in seconds")
    ] = HANG_SECONDS


class Injected(Schema):
    gpu: int
    kind: FaultKind
    label: str


@router.post(
    "/gpus/{index}/faults",
    auth=CHANGE_GPU,
    response={202: Injected},
    summary="Inject a fault into a worker or its job now",
)
def inject_fault(
    request: HttpRequest, index: Annotated[int, Path(ge=0, le=SMALLINT_MAXIMUM)], fault: Fault
) -> Status[Injected]:
    actor = actor_of(request)
    count_control(actor)
    if not Gpu.objects.filter(index=index).exists():
        raise Problem(404, f"There is no GPU {index}.")
    try:
        inject(fault.kind, index, client(), actor=actor, hang_seconds=fault.hang_seconds)
    except (OutOfReach, NothingToHit) as reason:
        raise Problem(409, f"{reason}.") from None
    return Status(202, Injected(gpu=index, kind=fault.kind, label=FAULTS[fault.kind].label))
