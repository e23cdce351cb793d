"""Every column of every table and every field of a witness is changed, one at a time, on the log of a good run. The
verdict notices, except where a reason is given why it cannot."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, models
from django.db.models import F

from gpu_tasks.worker.witness import Saw, Witness
from scheduler.jobs import lifecycle
from scheduler.jobs.clock import database_now
from scheduler.jobs.lifecycle import Claimed
from scheduler.loops.retention import remove_jobs
from scheduler.models import Allocation, Checkpoint, ClusterEvent, Job, JobEvent, Lease, Rollup, Tally
from scheduler.rules.states import CHARGED_REASONS, EventKind, JobState, Reason
from scheduler.verdict.findings import VerdictOutcome
from scheduler.verdict.judge import judge
from scheduler.verdict.rules import _CHARGED, REASONS
from scheduler.verdict.witnesses import WitnessInvalid
from tests.build import make_due, queued, reread

pytestmark = pytest.mark.usefixtures("gpus")

SETTING = "operators change it at will"
REQUEST = "what was asked for is in the row alone"
DESCRIPTION = "the worker's own words of its GPU, registered again at each boot"
ORDER = "of the row that was written last, nothing else tells its place"
#: Why a change of this column cannot be known, of some rows or of all.
SURVIVORS = {
    **{f"scheduler_control.{column}": SETTING for column in ("rate_per_minute", "preset", "paused", "fault_profile")},
    **{
        f"scheduler_control.{column}": "the generator's position is about later jobs"
        for column in (
            *("seed", "next_arrival_at", "next_arrival_rate", "arrivals", "workload", "trace_row", "trace_wait"),
        )
    },
    **{f"scheduler_gpu.{column}": SETTING for column in ("drained", "quarantined", "failure_rate")},
    **{
        f"scheduler_gpu.{column}": DESCRIPTION
        for column in (
            *("backend", "boot", "booted_at", "cuda_uuid", "host", "memory_total_mib", "name", "power_limit_w", "uuid"),
        )
    },
    **{
        f"scheduler_job.{column}": REQUEST
        for column in (
            "gpu_memory_mib",
            "load",
            "max_failures",
            "name",
            "owner",
            "params",
            "source",
            "time_limit_seconds",
        )
    },
    "scheduler_job.type": "while the job waits or runs; its end is counted by type",
    "scheduler_job.accepts_faults": "while the job waits or runs, or if it was cancelled",
    "scheduler_job.result": "the row alone holds it",
    "scheduler_job.not_before": "a back-off is advice for the next start",
    "scheduler_job.elsewhere_until": "advice for the next start",
    "scheduler_job.fault_probability": "the failure rates of earlier times are not kept",
    "scheduler_jobevent.id": ORDER,
    "scheduler_jobevent.detail": "words for people; the error of an end is compared",
    "scheduler_rollup.id": ORDER,
    "scheduler_rollup.hour": "the turn of an hour may fall into a transaction, and old hours are folded into days",
    "scheduler_rollup.expected": "the probability of an earlier attempt is not kept",
    "scheduler_rollup.reason": "a job that reached its limit is counted by the cause, which its event does not name",
    "scheduler_tally.n": "a worker may be killed before it notes a refused result: more may be counted than witnessed",
    "scheduler_tally.priority": "a refused result has none",
    "scheduler_tally.shard": "only the sum over the shards means something",
    **{f"scheduler_lease.{column}": "it expires within seconds" for column in ("name", "holder", "expires_at")},
    **{
        f"scheduler_clusterevent.{column}": "the audit is told once; a database role of its own protects it"
        for column in ("id", "at", "kind", "actor", "gpu", "message", "before", "after")
    },
    "scheduler_checkpoint.day": "removals are summed over the days",
    "scheduler_checkpoint.at": "for people",
    "scheduler_checkpoint.older_than": "for people",
    "scheduler_checkpoint.event": "ids of events may have gaps",
    "scheduler_checkpoint.events": "nothing else counts the events that were removed",
}
#: Why a row that is missing from this table cannot be known.
SURVIVORS_OF_REMOVAL = {
    "scheduler_control": "made again at the next start",
    "scheduler_lease": "it expires within seconds",
    "scheduler_clusterevent": "the audit is told once, and retention removes the cluster's own events",
}
#: Why a change of this field of a witness's line cannot be known.
SURVIVORS_IN_WITNESSES = {
    "at": "a machine's clock may differ from the database's; only what overlaps is compared",
    "saw": "a note of a start or of a strike may be missing, because the worker was killed before it",
    "state": "of a refused result, which the log does not have",
    "job": "of a line that only adds to what the log proves",
    "attempt": "of a line that only adds to what the log proves",
    "gpu": "of a line that only adds to what the log proves",
    "boot": "of an end: a result that was kept is committed by a later worker",
}


class Drive:
    """Jobs through the product's lifecycle, with the workers' witnesses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.witnesses = [Witness(folder, gpu, f"boot-{gpu}") for gpu in range(3)]

    def start(self, job: Job, gpu: int) -> None:
        make_due(job)
        attempt = reread(job).attempt
        self.witnesses[gpu].saw(Saw.CLAIMING, job.id, attempt)
        assert isinstance(lifecycle.claim(job.id, attempt, gpu=gpu, boot=f"boot-{gpu}"), Claimed)
        self.witnesses[gpu].saw(Saw.STARTED, job.id, attempt)

    def end(self, job: Job, state: JobState, *, attempt: int = 1, gpu: int = 0, **how: Any) -> None:
        accepted = lifecycle.end(job.id, attempt, state, **how)
        self.witnesses[gpu].saw(Saw.ENDED if accepted else Saw.REFUSED, job.id, attempt, state=state)


@pytest.fixture
def folder(state_dir: Path) -> Path:
    return state_dir / "witness"


@pytest.fixture
def log(folder: Path, control: Any) -> Drive:
    """A job of each fate; their ids are 1 to 9."""
    drive = Drive(folder)
    done, failed, cancelled, stopped, died, shut_down, hopeless, runs, _waits = (queued() for _ in range(9))
    drive.start(done, 0)
    drive.end(done, JobState.SUCCEEDED, result={"n": 1})
    drive.start(failed, 0)
    drive.end(failed, JobState.FAILED, reason=Reason.JOB_ERROR, error="ValueError: no")
    lifecycle.cancel(cancelled.id, actor="ada")
    drive.start(stopped, 1)
    lifecycle.cancel(stopped.id, actor="ada")
    lifecycle.requeue(stopped.id, 1, Reason.CANCEL)
    drive.start(died, 0)
    drive.witnesses[0].saw(Saw.STRIKE, died.id, 1)
    lifecycle.requeue(died.id, 1, Reason.WORKER_DIED)
    drive.start(died, 1)
    drive.end(died, JobState.SUCCEEDED, attempt=1, gpu=0)
    drive.end(died, JobState.SUCCEEDED, attempt=2, gpu=1)
    drive.start(shut_down, 1)
    lifecycle.requeue(shut_down.id, 1, Reason.SHUTDOWN)
    Job.objects.filter(id=hopeless.id).update(max_failures=1)
    drive.start(hopeless, 0)
    lifecycle.requeue(hopeless.id, 1, Reason.CHILD_DIED)
    drive.start(runs, 2)
    ClusterEvent.objects.create(kind="worker_died", gpu=0, message="GPU 0: its worker died")
    Lease.objects.create(name="relay", holder="here", expires_at=database_now())
    for path in folder.glob("*.jsonl"):
        # The witnesses saw it all a while ago.
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**line, "at": line["at"] - 60}) + "\n" for line in lines))
    assert judge(folder).outcome is VerdictOutcome.HOLDS, judge(folder).as_dict()
    return drive


def is_noticed(folder: Path) -> bool:
    try:
        return judge(folder).outcome is not VerdictOutcome.HOLDS
    except WitnessInvalid:
        return True


# --- tables


def tables() -> list[type[models.Model]]:
    return [model for model in apps.get_app_config("scheduler").get_models() if model._meta.managed]


def other_value(field: models.Field[Any, Any], value: Any) -> Any:
    """One that the column accepts."""
    if field.is_relation:
        return Job.objects.exclude(id=value).values_list("id", flat=True).first()
    if field.choices and isinstance(value, str):
        return next(word for word, _ in field.choices if word != value)
    for kind, changed_value in CHANGES:
        if isinstance(field, kind):
            return changed_value(value)
    return f"{value}x"


#: By the column's type; a date and time is a date too.
CHANGES: tuple[tuple[type[models.Field[Any, Any]], Callable[[Any], Any]], ...] = (
    (models.DateTimeField, lambda value: (value or datetime(2026, 1, 1, tzinfo=UTC)) + timedelta(hours=1)),
    (models.DateField, lambda value: value + timedelta(days=1)),
    (models.DurationField, lambda _: timedelta(seconds=5)),
    (models.BooleanField, lambda value: not value),
    (models.JSONField, lambda _: {"changed": True}),
    (models.IntegerField, lambda value: (value or 0) + 1),
    (models.FloatField, lambda value: (value or 1.0) / 2 + 0.125),
)


@contextmanager
def changed(model: type[models.Model], key: dict[str, Any], column: str, value: Any) -> Iterator[bool]:
    """Whether the database lets it be changed; afterwards it is as it was."""
    rows = model._base_manager
    before = rows.filter(**key).values_list(column, flat=True).get()
    try:
        rows.filter(**key).update(**{column: value})
    except IntegrityError:
        yield False
        return
    try:
        yield True
    finally:
        rows.filter(**{**key, column: value} if column in key else key).update(**{column: before})


def columns(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    return [field for field in model._meta.concrete_fields if not isinstance(field, models.CompositePrimaryKey)]


def survivors_of_change(folder: Path, among: Iterable[type[models.Model]]) -> dict[str, list[Any]]:
    """By column: the keys of the rows in which nobody noticed."""
    survived: dict[str, list[Any]] = {}
    for model in among:
        for field in columns(model):
            for row in model._base_manager.order_by("pk").values():
                key = {name: row[name] for name in key_of(model)}
                with changed(model, key, field.attname, other_value(field, row[field.attname])) as is_changed:
                    if is_changed and not is_noticed(folder):
                        survived.setdefault(f"{model._meta.db_table}.{field.attname}", []).append(list(key.values()))
    return survived


def key_of(model: type[models.Model]) -> list[str]:
    return [field.attname for field in model._meta.pk_fields]


def test_a_changed_column_is_noticed(log: Drive) -> None:
    survived = survivors_of_change(log.folder, tables())

    assert judge(log.folder).outcome is VerdictOutcome.HOLDS
    assert set(survived) == {name for name in SURVIVORS if not name.startswith("scheduler_checkpoint.")}, survived


def test_a_changed_checkpoint_is_noticed(log: Drive) -> None:
    old = database_now() - timedelta(days=50)
    Job.objects.filter(id=1).update(finished_at=old)
    assert remove_jobs(old + timedelta(days=1)) == 1
    assert judge(log.folder).outcome is VerdictOutcome.HOLDS, judge(log.folder).as_dict()

    survived = survivors_of_change(log.folder, [Checkpoint])

    assert set(survived) == {name for name in SURVIVORS if name.startswith("scheduler_checkpoint.")}, survived


def test_a_missing_row_is_noticed(log: Drive) -> None:
    survived: dict[str, list[Any]] = {}
    for model in tables():
        for row in list(model._base_manager.order_by("pk")):
            events = list(row.events.all()) if isinstance(row, Job) else []
            allocations = list(Allocation.objects.filter(job=row)) if isinstance(row, Job) else []
            row_pk = row.pk
            row.delete()
            if not is_noticed(log.folder):
                survived.setdefault(model._meta.db_table, []).append(row_pk)
            row.pk = row_pk
            model._base_manager.bulk_create([row])
            JobEvent.objects.bulk_create(events)
            Allocation.objects.bulk_create(allocations)
    assert judge(log.folder).outcome is VerdictOutcome.HOLDS

    assert set(survived) == set(SURVIVORS_OF_REMOVAL), survived


# --- witnesses


def test_a_changed_field_of_a_witness_is_noticed(log: Drive) -> None:
    survived: dict[str, list[Any]] = {}
    for path in sorted(log.folder.glob("*.jsonl")):
        text = path.read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        for number, line in enumerate(lines):
            for name, value in line.items():
                forged = {**line, name: f"{value}x" if isinstance(value, str) else value + 1}
                told = [*lines[:number], forged, *lines[number + 1 :]]
                path.write_text("".join(f"{json.dumps(each)}\n" for each in told))
                if not is_noticed(log.folder):
                    survived.setdefault(name, []).append((path.name, number, line["saw"]))
        path.write_text(text)

    assert set(survived) == set(SURVIVORS_IN_WITNESSES), survived
    # Whatever says that a job was claimed is held against the log, and under which worker it ran.
    said = {name: {saw for _, _, saw in found} for name, found in survived.items()}
    assert not any("claiming" in said[name] for name in said.keys() - {"at"}), survived
    assert said["boot"] == {"ended", "refused"}, survived


# --- forgeries that keep every count in order


def test_a_lost_job_whose_counts_were_adjusted_is_known_by_its_id(log: Drive) -> None:
    waits = Job.objects.get(id=8)
    JobEvent.objects.filter(job=waits).delete()
    waits.delete()
    Tally.objects.filter(shard=-1, word="submitted").update(n=F("n") - 1)
    Tally.objects.filter(shard=-1, word="queued").update(n=F("n") - 1)

    assert set(judge(log.folder).broken) >= {"ids_gapless"}


def test_a_success_that_was_told_as_a_failure_is_known_by_its_witness(log: Drive) -> None:
    Job.objects.filter(id=1).update(state="failed", reason="job_error", error="no")
    JobEvent.objects.filter(job=1, kind="succeeded").update(kind="failed", reason="job_error", detail="no")
    Tally.objects.filter(shard=0, word="succeeded").update(n=F("n") - 1)
    Tally.objects.filter(shard=0, word="failed").update(n=F("n") + 1)
    Rollup.objects.filter(gpu=0, outcome="succeeded").delete()
    Rollup.objects.filter(gpu=0, outcome="failed", reason="job_error").update(n=2)

    found = judge(log.folder)

    assert [b.words for b in found.breaches if b.rule == "witness_agrees"] == [
        "the witness of GPU 0 saw attempt 1 end as succeeded; the log says failed"
    ]


def test_an_attempt_that_lived_beside_its_successor_after_a_confirmed_death_is_known(log: Drive) -> None:
    """Confirmed: the process was seen to end. A worker that only fell silent may live on for a while."""
    job = queued()
    log.start(job, 0)
    lifecycle.requeue(job.id, 1, Reason.SHUTDOWN)
    log.start(job, 1)
    assert judge(log.folder).outcome is VerdictOutcome.HOLDS

    with (log.folder / "gpu-0.jsonl").open("a") as file:
        line = {"at": time.time() + 2, "saw": "strike", "job": job.id, "attempt": 1, "gpu": 0, "boot": "boot-0"}
        file.write(f"{json.dumps(line)}\n")

    assert dict(judge(log.folder).broken) == {"witness_agrees": 1}


def test_the_verdict_s_own_words_are_those_of_the_rules() -> None:
    """It imports none of them: a reason that only one of the two knows would be a breach on a good run."""
    assert {reason for reasons in REASONS.values() for reason in reasons} == {"", *Reason}
    assert set(REASONS) == {*EventKind}
    assert {str(reason) for reason in CHARGED_REASONS} | {"exhausted"} == _CHARGED
