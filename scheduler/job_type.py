"""The interface of a job type, and the catalogue of the job types of this cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from scheduler import parameters


class JobParams(BaseModel):
    """Base of every type's parameters: unknown names are refused, every field has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class JobFailed(Exception):
    """Raised by run(): the job itself failed. The message is kept as the job's error."""


class ResultInvalid(JobFailed):
    """The job finished, but its result failed the job's own check."""


class DeviceMemoryExhausted(JobFailed):
    """The job needed more memory than its GPU or its host has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What a running job may use.

    progress: reports progress, 0.0 to 1.0; cheap, may be called often.
    gpu_index: the GPU that the job is pinned to; a real one is CUDA device 0 of this process.
    has_cuda: True only where the GPU is real and CuPy may be used.
    """

    job_id: int
    attempt: int
    gpu_index: int
    has_cuda: bool
    progress: Callable[[float], None]
    seed: int


class JobType[P: JobParams](Protocol):
    """A strategy: one object for each type, without state between jobs.

    `run` returns a dict that json.dumps accepts, or raises; it runs in the worker's child process. The other
    methods are the cost model: what a job with these parameters needs.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Params: type[P]
    #: Whether random faults may hit jobs of this type from every source; they may always hit the generator's jobs.
    accepts_random_faults: ClassVar[bool]

    def run(self, params: P, context: JobContext) -> dict[str, Any]: ...

    def gpu_memory_mib(self, params: P) -> int:
        """The maximum GPU memory that the job needs, in MiB."""
        ...

    def load(self, params: P) -> float:
        """Share of the GPU's compute in use while the job runs, 0.0 to 1.0; a simulated GPU reports it."""
        ...

    def duration_seconds(self, params: P) -> float:
        """Expected run time in seconds: a simulation uses it, and a real run may differ."""
        ...


class SimpleJobType:
    """Base class of a type that defines only the required parts: name, summary, Params and run.

    `Params` may be a pydantic model or a dataclass; without it the type has no parameters. The costs below are
    assumptions: override those that you know better.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Params: type[Any] = JobParams
    accepts_random_faults: ClassVar[bool] = False

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        raise NotImplementedError

    def gpu_memory_mib(self, params: Any) -> int:
        return 1024

    def load(self, params: Any) -> float:
        return 1.0

    def duration_seconds(self, params: Any) -> float:
        return 30.0


class ParamsInvalid(ValueError):
    """Names the first wrong field and what it accepts."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field, self.message = field, message


class UnknownJobType(ParamsInvalid):
    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__("type", f"unknown job type {name!r}; must be one of {', '.join(sorted(known))}")


def parse_params[P: JobParams](job_type: JobType[P], values: Mapping[str, Any]) -> P:
    """Validated parameters of a submission with defaults filled in; ParamsInvalid names the field."""
    return _parsed(parameters.parse, job_type, values)


def parse_stored_params[P: JobParams](job_type: JobType[P], values: Mapping[str, Any]) -> P:
    """Those of a job's row. ParamsInvalid if the type has changed since, and refuses them."""
    return _parsed(parameters.parse_dumped, job_type, values)


def stored_params(values: BaseModel) -> dict[str, Any]:
    """JSON for a job's row, from which the worker makes the same values. ParamsInvalid if it would make others."""
    try:
        return parameters.dump(values)
    except parameters.NotCarried as error:
        raise ParamsInvalid(f"params.{error.field}".rstrip("."), error.message) from None


def _parsed[P: JobParams](
    parse: Callable[[type[P], Mapping[str, Any]], P], job_type: JobType[P], values: Mapping[str, Any]
) -> P:
    try:
        return parse(job_type.Params, values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["params", *(str(part) for part in first["loc"])])
        message = first["msg"]
        if first["type"] == "extra_forbidden":
            known = ", ".join(job_type.Params.model_fields)
            message = f"{job_type.name} has no such parameter; it accepts {known}"
        raise ParamsInvalid(field, message) from None


class Catalogue(Mapping[str, JobType[Any]]):
    """The job types of this cluster by name."""

    def __init__(self, job_types: Iterable[JobType[Any]]) -> None:
        self._by_name: dict[str, JobType[Any]] = {}
        for job_type in job_types:
            if job_type.name in self._by_name:
                raise ValueError(f"two job types are named {job_type.name!r}")
            self._by_name[job_type.name] = job_type

    def __getitem__(self, name: str) -> JobType[Any]:
        try:
            return self._by_name[name]
        except KeyError:
            raise UnknownJobType(name, self._by_name) from None

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)
