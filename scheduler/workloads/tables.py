"""The tables of a workload file, as models: the type of each key, and its default."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from scheduler.arrivals.clocks import DAYS_OF_WEEK, HOURS_OF_DAY
from scheduler.arrivals.trace_file import TRACE_FORMATS
from scheduler.rules.states import Priority

#: GPU jobs of Helios' cluster Venus, April to September 2020, from the 10-minute counts in Lucid's
#: `simulation/data/Venus/cluster_throughput.csv` (Hu et al., ASPLOS'23): hours 0 to 23, Monday to Sunday.
HELIOS_HOURS: Final = (
    0.90, 0.66, 0.60, 0.38, 0.27, 0.21, 0.19, 0.22, 0.37, 0.80, 1.29, 1.47,
    1.16, 1.30, 1.56, 1.66, 1.73, 1.73, 1.28, 1.31, 1.34, 1.36, 1.15, 1.04,
)  # fmt: skip
HELIOS_WEEKDAYS: Final = (1.02, 1.11, 1.27, 1.20, 0.95, 0.68, 0.77)

#: As long as a job of type `sleep` may be: jobs of a trace are of that type.
LONGEST_SECONDS_MAXIMUM: Final = 86_400

Factor = Annotated[float, Field(ge=0)]
Compression = Annotated[float, Field(gt=0, le=1_000_000)]
BatchMean = Annotated[float, Field(ge=1, le=10_000)]


class Table(BaseModel):
    """Strict: text is not a number, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class FileTable(Table):
    title: str = ""
    source: str = ""
    arrivals: dict[str, Any] = Field(default_factory=lambda: {"shape": "poisson"})
    jobs: dict[str, Any] = Field(default_factory=dict)


class SteadyTable(Table):
    shape: Literal["steady"]


class PoissonTable(Table):
    shape: Literal["poisson"]


class BurstTable(Table):
    shape: Literal["burst"]
    batch_mean: BatchMean = 8.0


class DailyTable(Table):
    shape: Literal["daily"]
    hour_factors: Annotated[list[Factor], Field(min_length=HOURS_OF_DAY, max_length=HOURS_OF_DAY)] = list(HELIOS_HOURS)
    batch_mean: BatchMean = 1.0
    utc_offset_hours: Annotated[float, Field(ge=-24, le=24)] = 0.0
    #: Slots of an hour are not made shorter than a second.
    time_compression: Annotated[float, Field(gt=0, le=3_600)] = 1.0


class WeeklyTable(DailyTable):
    shape: Literal["weekly"]  # type: ignore[assignment]
    weekday_factors: Annotated[list[Factor], Field(min_length=DAYS_OF_WEEK, max_length=DAYS_OF_WEEK)] = list(
        HELIOS_WEEKDAYS
    )


class ReplayTable(Table):
    shape: Literal["replay"]
    file: Annotated[str, Field(min_length=1)]
    format: Literal[tuple(TRACE_FORMATS)] = "plain"  # type: ignore[valid-type]
    columns: dict[Literal["submitted", "duration", "started", "ended", "gpus", "gpu_milli"], str] = Field(
        default_factory=dict
    )
    time_compression: Compression = 1.0
    repeat: bool = False


ARRIVALS: Final[dict[str, type[Table]]] = {
    "steady": SteadyTable,
    "poisson": PoissonTable,
    "burst": BurstTable,
    "daily": DailyTable,
    "weekly": WeeklyTable,
    "replay": ReplayTable,
}


def _no_word_twice(value: Any) -> Any:
    """`LOW` and `low` are one priority, and only one of their weights could count."""
    words = [str(key).lower() for key in value] if isinstance(value, dict) else []
    if twice := [word for word in words if words.count(word) > 1]:
        raise PydanticCustomError("given_twice", "{word} is given twice", {"word": twice[0]})
    return value


#: In any case, as everywhere; strict tables would accept only the enum itself.
PriorityKey = Annotated[Priority, Field(strict=False)]


class JobsTable(Table):
    mix: str | None = None
    rows: list[dict[str, Any]] | None = None
    priorities: Annotated[dict[PriorityKey, Factor], BeforeValidator(_no_word_twice)] | None = None
    duration_scale: Annotated[float, Field(gt=0, le=1_000)] | None = None
    longest_seconds: Annotated[float, Field(ge=1, le=LONGEST_SECONDS_MAXIMUM)] | None = None


class RowTable(Table):
    type: str
    weight: Factor = 1.0
    params: dict[str, Any] = Field(default_factory=dict)


class LogNormalTable(Table):
    median: float
    sigma: float
    minimum: float
    maximum: float
    digits: Annotated[int, Field(ge=0, le=6)] = 0


class ChoiceTable(Table):
    values: list[Any]
    weights: list[float]


class CdfTable(Table):
    values: list[float]
    percent: list[float]
