"""A workload: when jobs arrive, and what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from scheduler.arrivals.replay import Replay
from scheduler.arrivals.shape import Arrival, Shape
from scheduler.job_type import JobType, ParamsInvalid, UnknownJobType, parse_params
from scheduler.rules.configuration import EnvironmentInvalid
from scheduler.workloads.jobmix import DrawnJob, JobMix, MixRow, draw_job
from scheduler.workloads.spreads import Spread

#: The job type that stands in for a job of a trace.
REPLAY_TYPE = "sleep"


class WorkloadInvalid(EnvironmentInvalid):
    """Names the file, the key and the accepted values."""

    def __init__(self, source: str, key: str, message: str) -> None:
        super().__init__(f"GENERATOR_CONFIG: {source}: {f'{key}: ' if key else ''}{message}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """name: of the profile or its file. fingerprint: of the arrivals; another one starts from their beginning.

    longest_seconds: jobs of a trace are cut to it.
    """

    name: str
    shape: Shape
    mix: JobMix
    longest_seconds: float
    fingerprint: str

    def job(self, seed: int, arrival: Arrival) -> DrawnJob:
        """The job for one arrival; it depends on the seed and the arrival alone.

        In a replay the trace's row gives the duration and, if it knows, the load. A row that asked for several
        GPUs becomes one job on one GPU: it keeps its duration, and its parameters say what it asked for.
        """
        drawn = draw_job(seed, arrival.number, self.mix)
        if arrival.row is None or not isinstance(self.shape, Replay):
            return drawn
        trace, row = self.shape.trace, arrival.row
        params: dict[str, Any] = {
            "seconds": round(min(trace.seconds[row] / self.shape.time_compression, self.longest_seconds), 2),
            "requested_gpus": trace.gpus[row],
        }
        if trace.loads is not None:
            params["load"] = round(trace.loads[row], 3)
        return replace(drawn, params=drawn.params | params)


def check_types(workload: Workload, types: Mapping[str, JobType[Any]]) -> None:
    """Checks that the job types accept every job of the mix. WorkloadInvalid names the first row that is wrong."""
    for index, row in enumerate(workload.mix.rows):
        try:
            _check_row(row, types[row.type])
        except UnknownJobType as error:
            raise WorkloadInvalid(workload.name, f"jobs.rows[{index}].type", error.message) from None
        except ParamsInvalid as error:
            raise WorkloadInvalid(workload.name, f"jobs.rows[{index}].{error.field}", error.message) from None
        except Exception:  # noqa: BLE001, S112 (the type's code is broken, not the workload: the other types run)
            continue  # the generator skips each arrival of it, counts it, and says why


def _check_row(row: MixRow, job_type: JobType[Any]) -> None:
    extremes = {name: list(it.extremes()) if isinstance(it, Spread) else [it] for name, it in row.params.items()}
    usual = {name: values[0] for name, values in extremes.items()}
    for name, values in extremes.items():
        for value in values:
            parse_params(job_type, usual | {name: value})
    job_type.gpu_memory_mib(parse_params(job_type, usual))
