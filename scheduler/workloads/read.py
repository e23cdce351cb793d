"""Reads a workload from a TOML or JSON file; an error names the file, the key and the accepted values."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from scheduler.arrivals.clocks import Cycle, week
from scheduler.arrivals.gaps import Batches, Even, Exponential, Gaps
from scheduler.arrivals.rated import Rated
from scheduler.arrivals.replay import Replay
from scheduler.arrivals.shape import Shape
from scheduler.arrivals.trace_file import TraceInvalid, read_trace, trace_format
from scheduler.rules.states import Priority
from scheduler.workloads import tables
from scheduler.workloads.durations import DURATIONS
from scheduler.workloads.jobmix import JobMix, MixRow
from scheduler.workloads.spreads import Cdf, Choice, LogNormal, MixInvalid, Scaled
from scheduler.workloads.workload import REPLAY_TYPE, Workload, WorkloadInvalid

#: The workloads that come with the project.
PROFILE_FOLDER: Final = Path(__file__).parent / "profiles"

#: Defaults of the table [jobs].
DEFAULT_LONGEST_SECONDS: Final = 600.0
DEFAULT_PRIORITIES: Final = {Priority.CRITICAL: 0.05, Priority.HIGH: 0.20, Priority.NORMAL: 0.50, Priority.LOW: 0.25}


def profile_names() -> list[str]:
    return sorted(path.stem for path in PROFILE_FOLDER.glob("*.toml"))


def read_workload(wanted: str, base: Path) -> Workload:
    """The profile of that name, or the file at that path (from `base`)."""
    file = _File(_path(wanted, base))
    top = file.table(tables.FileTable, file.document(), "")
    arrivals = _arrivals_table(file, top.arrivals)
    jobs = _jobs(file, top.jobs, default_mix="replay" if arrivals.shape == "replay" else "demo")
    if arrivals.shape == "replay":
        _check_replay(file, jobs)
    return Workload(
        name=file.name,
        shape=_shape(file, arrivals),
        mix=jobs.mix(),
        longest_seconds=jobs.longest_seconds,
        fingerprint=_fingerprint(file, arrivals),
    )


def _path(wanted: str, base: Path) -> Path:
    if wanted in profile_names():
        return PROFILE_FOLDER / f"{wanted}.toml"
    path = (base / wanted).resolve()
    if path.suffix not in {".toml", ".json"}:
        names = ", ".join(profile_names())
        raise WorkloadInvalid(repr(wanted), "", f"must be one of {names}, or the path of a .toml or .json file")
    return path


# --- a file and its tables ------------------------------------------------------------------------


class _File:
    """A file, and errors that name it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def document(self) -> dict[str, Any]:
        try:
            text = self.path.read_text(encoding="utf-8")
            document = tomllib.loads(text) if self.path.suffix == ".toml" else json.loads(text)
        except OSError as error:
            raise self.wrong("", f"cannot be read: {error.strerror}") from None
        except ValueError as error:  # of TOML, JSON and UTF-8 alike
            raise self.wrong("", f"is not {self.path.suffix[1:].upper()}: {error}") from None
        if not isinstance(document, dict):
            raise self.wrong("", "must contain a table of keys")
        return document

    def table[T: tables.Table](self, model: type[T], values: Any, key: str) -> T:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            path = _joined(key, *(part for part in first["loc"] if part != "[key]"))
            message = first["msg"]
            if first["type"] == "extra_forbidden":
                message = f"is unknown here; must be one of {', '.join(model.model_fields)}"
            raise self.wrong(path, message) from None

    def wrong(self, key: str, message: str) -> WorkloadInvalid:
        return WorkloadInvalid(self.name, key, message)


def _joined(key: str, *parts: int | str) -> str:
    for part in parts:
        key = f"{key}[{part}]" if isinstance(part, int) else f"{key}.{part}" if key else part
    return key


# --- arrivals -------------------------------------------------------------------------------------


def _arrivals_table(file: _File, values: Mapping[str, Any]) -> Any:
    shape = values.get("shape")
    if shape not in tables.ARRIVALS:
        raise file.wrong("arrivals.shape", f"{shape!r} is not one of {', '.join(tables.ARRIVALS)}")
    return file.table(tables.ARRIVALS[shape], values, "arrivals")


def _shape(file: _File, table: Any) -> Shape:
    match table:
        case tables.SteadyTable():
            return Rated(gaps=Even())
        case tables.PoissonTable():
            return Rated()
        case tables.BurstTable():
            return Rated(gaps=_batches(table.batch_mean))
        case tables.DailyTable():
            return _cyclic(file, table)
        case _:
            return _replay(file, table)


def _batches(mean: float) -> Gaps:
    return Batches(mean) if mean > 1 else Exponential()


def _cyclic(file: _File, table: tables.DailyTable) -> Shape:
    factors = table.hour_factors
    for key in ("hour_factors", "weekday_factors"):
        if not any(getattr(table, key, [1.0])):
            raise file.wrong(f"arrivals.{key}", "all values are 0; at least one must be above 0")
    if isinstance(table, tables.WeeklyTable):
        factors = week(table.hour_factors, table.weekday_factors)
    clock = Cycle(factors=factors, utc_offset_hours=table.utc_offset_hours, time_compression=table.time_compression)
    return Rated(gaps=_batches(table.batch_mean), clock=clock)


def _replay(file: _File, table: tables.ReplayTable) -> Shape:
    path = file.path.parent / table.file
    try:
        trace = read_trace(path, trace_format(table.format, table.columns))
    except OSError as error:
        raise file.wrong("arrivals.file", f"cannot read {path}: {error.strerror}") from None
    except (TraceInvalid, ValueError) as error:
        raise file.wrong("arrivals.file", f"{path}: {error}") from None
    return Replay(trace=trace, time_compression=table.time_compression, repeat=table.repeat)


def _fingerprint(file: _File, table: Any) -> str:
    """A hash of everything that decides when jobs arrive, including the content of a trace."""
    content = (file.path.parent / table.file).read_bytes() if isinstance(table, tables.ReplayTable) else b""
    return sha256(table.model_dump_json().encode() + content).hexdigest()[:16]


# --- jobs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Jobs:
    """The table [jobs], completed by the mix that it names."""

    file: _File
    rows: list[tables.RowTable]
    priorities: Mapping[Priority, float]
    duration_scale: float
    longest_seconds: float

    def mix(self) -> JobMix:
        rows = [
            MixRow(
                type=row.type,
                weight=row.weight,
                params={name: self._spread(it, f"jobs.rows[{i}].params.{name}") for name, it in row.params.items()},
            )
            for i, row in enumerate(self.rows)
        ]
        try:
            return JobMix(rows=rows, priorities=self.priorities)
        except MixInvalid as error:
            raise self.file.wrong("jobs", str(error)) from None

    def _spread(self, value: Any, key: str) -> Any:
        """A fixed value as it is; a table of one key names a spread."""
        if not isinstance(value, dict):
            return value
        if len(value) != 1 or (kind := next(iter(value))) not in SPREADS:
            raise self.file.wrong(key, f"must be a value, or a table with one of {', '.join(SPREADS)}")
        content, key = value[kind], f"{key}.{kind}"
        try:
            match kind:
                case "fixed":
                    return content
                case "durations":
                    if content not in DURATIONS:
                        raise self.file.wrong(key, f"{content!r} is not one of {', '.join(DURATIONS)}")
                    return Scaled(cdf=DURATIONS[content], scale=self.duration_scale, longest=self.longest_seconds)
                case "cdf":
                    cdf = Cdf(**dict(self.file.table(tables.CdfTable, content, key)))
                    return Scaled(cdf=cdf, scale=self.duration_scale, longest=self.longest_seconds)
                case "lognormal":
                    return LogNormal(**dict(self.file.table(tables.LogNormalTable, content, key)))
                case _:
                    return Choice(**dict(self.file.table(tables.ChoiceTable, content, key)))
        except MixInvalid as error:
            raise self.file.wrong(key, str(error)) from None


#: The keys of a parameter's table. durations: those of a published cluster; cdf: any other table, scaled and cut in the
#: same way.
SPREADS: Final = ("lognormal", "choice", "durations", "cdf", "fixed")


def _jobs(file: _File, values: Mapping[str, Any], default_mix: str) -> _Jobs:
    table = file.table(tables.JobsTable, values, "jobs")
    if table.rows is not None and table.mix is not None:
        raise file.wrong("jobs.mix", "must not be set together with jobs.rows")
    if table.rows is None:
        return _of_profile(file, table, table.mix or default_mix)
    return _Jobs(
        file=file,
        rows=[file.table(tables.RowTable, row, f"jobs.rows[{i}]") for i, row in enumerate(table.rows)],
        priorities=table.priorities or DEFAULT_PRIORITIES,
        duration_scale=table.duration_scale or 1.0,
        longest_seconds=table.longest_seconds or DEFAULT_LONGEST_SECONDS,
    )


def _of_profile(file: _File, table: tables.JobsTable, mix: str) -> _Jobs:
    """The rows of a profile; the keys of the file override those of the profile."""
    if mix not in profile_names():
        raise file.wrong("jobs.mix", f"{mix!r} is not one of {', '.join(profile_names())}")
    profile = _File(PROFILE_FOLDER / f"{mix}.toml")
    theirs = _jobs(profile, profile.document().get("jobs", {}), default_mix="demo")
    return _Jobs(
        file=file,
        rows=theirs.rows,
        priorities=table.priorities if table.priorities is not None else theirs.priorities,
        duration_scale=table.duration_scale or theirs.duration_scale,
        longest_seconds=table.longest_seconds or theirs.longest_seconds,
    )


def _check_replay(file: _File, jobs: _Jobs) -> None:
    for index, row in enumerate(jobs.rows):
        if row.type != REPLAY_TYPE:
            raise file.wrong(f"jobs.rows[{index}].type", f"a replay makes jobs of type {REPLAY_TYPE}, not {row.type!r}")
    if jobs.duration_scale != 1.0:
        raise file.wrong("jobs.duration_scale", "a replay divides its durations by arrivals.time_compression")
