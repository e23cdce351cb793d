"""/api/gpus: the row of each GPU, and what its worker reports now."""

from __future__ import annotations

from typing import Annotated, Any, Final

from django.http import HttpRequest
from ninja import Path, Router, Schema
from pydantic import Field, StrictBool
from redis.exceptions import RedisError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.http.permissions import CHANGE_GPU, READ, actor_of
from cluster_dashboard.api.http.problems import Problem
from cluster_dashboard.api.http.rate_limit import count_control
from cluster_dashboard.api.schemas import NUMBER, SMALLINT_MAXIMUM, Input
from cluster_dashboard.live.read import RedisView, read_redis
from cluster_dashboard.live.snapshot import gpu_now
from scheduler.jobs.controls import change_gpu
from scheduler.logs import event_logger
from scheduler.models import Allocation, Gpu
from scheduler.rules.gpu import GpuState

log = event_logger(__name__)

router = Router(tags=["GPUs"])

#: Known only from Redis; null while Redis is unavailable.
LIVE_FIELDS: Final = (
    "state",
    "note",
    "heartbeat_age_s",
    "utilization_percent",
    "memory_used_mib",
    "temperature_c",
    "temperature_limit_c",
    "power_w",
    "sm_clock_mhz",
)


class GpuJob(Schema):
    id: int
    name: str
    attempt: int


class GpuInfo(Schema):
    """A value that is unknown now is null."""

    index: int
    name: str
    uuid: str
    cuda_uuid: str = Field(
        description="The UUID that CUDA reports in a job process; equal to uuid: the pinning is proven"
    )
    host: str
    backend: str
    memory_total_mib: int | None
    power_limit_w: float | None
    failure_rate: float = Field(description="Probability that a generated job meets a fault here")
    drained: bool
    quarantined: str = Field(description="Why the cluster gives it no jobs; empty if it is not quarantined")
    job: GpuJob | None
    state: GpuState | None
    note: str | None
    heartbeat_age_s: float | None
    utilization_percent: float | None
    memory_used_mib: int | None
    temperature_c: float | None
    temperature_limit_c: float | None = Field(description="Above it the GPU takes no job: the card's own limit, or 85")
    power_w: float | None
    sm_clock_mhz: float | None


class Gpus(Schema):
    gpus: list[GpuInfo]


class GpuChange(Input):
    failure_rate: Annotated[float, Field(ge=0, le=1), NUMBER] | None = None
    drained: StrictBool | None = None
    quarantined: StrictBool | None = Field(
        default=None, description="true: give it no jobs; false: release it, whatever it was quarantined for"
    )


@router.get("/gpus", auth=READ, response=Gpus, summary="List the GPUs and their present state")
def list_gpus(request: HttpRequest) -> Gpus:
    return Gpus(gpus=gpu_infos())


def gpu_infos() -> list[GpuInfo]:
    """By index. Live fields are None while the broker is unavailable."""
    jobs = {held.gpu: _job(held) for held in Allocation.objects.select_related("job")}
    live = _read_live()
    return [_info(gpu, jobs.get(gpu.index), live) for gpu in Gpu.objects.all()]


@router.patch(
    "/gpus/{index}",
    auth=CHANGE_GPU,
    response=GpuInfo,
    summary="Drain, quarantine or release a GPU, or change its failure rate",
)
def patch_gpu(
    request: HttpRequest, index: Annotated[int, Path(ge=0, le=SMALLINT_MAXIMUM)], change: GpuChange
) -> GpuInfo:
    actor = actor_of(request)
    count_control(actor)
    try:
        gpu = change_gpu(index, actor=actor, **change.model_dump())
    except Gpu.DoesNotExist:
        known = ", ".join(str(each) for each in Gpu.objects.values_list("index", flat=True))
        raise Problem(404, f"There is no GPU {index}. Known GPUs: {known or 'none yet'}.") from None
    held = Allocation.objects.select_related("job").filter(gpu=index).first()
    return _info(gpu, None if held is None else _job(held), _read_live())


def _job(held: Allocation) -> GpuJob:
    return GpuJob(id=held.job_id, name=held.job.name, attempt=held.attempt)


def _read_live() -> RedisView | None:
    try:
        return read_redis(client())
    except (RedisError, OSError) as error:
        log.info("broker_unreachable", component="api_gpus", error=f"{type(error).__name__}: {error}")
        return None


def _info(gpu: Gpu, job: GpuJob | None, live: RedisView | None) -> GpuInfo:
    return GpuInfo(
        index=gpu.index,
        name=gpu.name,
        uuid=gpu.uuid,
        cuda_uuid=gpu.cuda_uuid,
        host=gpu.host,
        backend=gpu.backend,
        memory_total_mib=gpu.memory_total_mib,
        power_limit_w=gpu.power_limit_w,
        failure_rate=gpu.failure_rate,
        drained=gpu.drained,
        quarantined=gpu.quarantined,
        job=job,
        **_now(gpu, job, live),
    )


def _now(gpu: Gpu, job: GpuJob | None, live: RedisView | None) -> dict[str, Any]:
    if live is None:
        return dict.fromkeys(LIVE_FIELDS)
    now = gpu_now(gpu, live, busy=job is not None)
    return {name: getattr(now, name) for name in LIVE_FIELDS}
