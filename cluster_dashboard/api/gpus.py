"""/api/gpus: what is known of each GPU, and what its worker says now."""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Path, Router
from redis.exceptions import RedisError

from cluster_dashboard.api.broker import client
from cluster_dashboard.api.permissions import READ, actor_of
from cluster_dashboard.api.problems import Problem
from cluster_dashboard.api.schemas import SMALLINT_MAXIMUM, GpuChange, GpuInfo, GpuJob, Gpus
from cluster_dashboard.live.read import RedisView, read_redis
from cluster_dashboard.live.snapshot import SAMPLE_AGE_MAXIMUM_SECONDS
from scheduler.controls import change_gpu
from scheduler.gpu import TEMPERATURE_LIMIT_C, GpuHealth, GpuState, shown_state
from scheduler.liveness import SILENCE_SECONDS
from scheduler.logs import event_logger
from scheduler.models import Allocation, Gpu

log = event_logger(__name__)

router = Router(tags=["GPUs"])


@router.get("/gpus", auth=READ, response=Gpus, summary="The GPUs and what they do now")
def list_gpus(request: HttpRequest) -> Gpus:
    jobs = {held.gpu: _job(held) for held in Allocation.objects.select_related("job")}
    live = _read_live()
    return Gpus(gpus=[_info(gpu, jobs.get(gpu.index), live) for gpu in Gpu.objects.all()])


@router.patch("/gpus/{index}", response=GpuInfo, summary="Drain a GPU, or change its failure rate")
def patch_gpu(
    request: HttpRequest, index: Annotated[int, Path(ge=0, le=SMALLINT_MAXIMUM)], change: GpuChange
) -> GpuInfo:
    try:
        gpu = change_gpu(index, actor=actor_of(request), **change.model_dump())
    except Gpu.DoesNotExist:
        known = ", ".join(str(each) for each in Gpu.objects.values_list("index", flat=True))
        raise Problem(404, f"There is no GPU {index}. Known are {known or 'none yet'}.") from None
    held = Allocation.objects.select_related("job").filter(gpu=index).first()
    return _info(gpu, None if held is None else _job(held), _read_live())


def _job(held: Allocation) -> GpuJob:
    return GpuJob(id=held.job_id, name=held.job.name, attempt=held.attempt)


def _read_live() -> RedisView | None:
    try:
        return read_redis(client())
    except (RedisError, OSError) as error:
        log.info("gpus_without_broker", error=f"{type(error).__name__}: {error}")
        return None


def _info(gpu: Gpu, job: GpuJob | None, live: RedisView | None) -> GpuInfo:
    return GpuInfo(
        index=gpu.index,
        name=gpu.name,
        uuid=gpu.uuid,
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
    """What only Redis knows; all of it null while Redis does not answer."""
    sample = {} if live is None else live.samples.get(gpu.index, {})
    if live is None or live.now - sample.get("at", 0) > SAMPLE_AGE_MAXIMUM_SECONDS:
        sample = {}
    beat = None if live is None else live.beats.get(gpu.index)
    age = None if live is None or beat is None else max(0.0, live.now - beat.at)
    alive = age is not None and age < SILENCE_SECONDS
    values = {name: sample.get(name) for name in ("utilization_percent", "memory_used_mib", "temperature_c", "power_w")}
    state = None if live is None else _state(gpu, job, sample, alive=alive)
    note = beat.note if beat is not None and alive else None
    return {"state": state, "note": note, "heartbeat_age_s": None if age is None else round(age, 1), **values}


def _state(gpu: Gpu, job: GpuJob | None, sample: dict[str, Any], *, alive: bool) -> GpuState:
    temperature = sample.get("temperature_c")
    return shown_state(
        health=GpuHealth(sample.get("health", GpuHealth.UNKNOWN)),
        drained=gpu.drained,
        quarantined=gpu.quarantined,
        hot=temperature is not None and temperature > TEMPERATURE_LIMIT_C,
        busy=job is not None,
        alive=alive,
    )
