"""One arrival that cannot be made into a job does not stop the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError
from django.db.models import F

from cluster_dashboard.live.totals import TotalsReader
from scheduler.catalogue import catalogue
from scheduler.jobs import submit
from scheduler.jobs.clock import database_now
from scheduler.jobs.controls import change_control
from scheduler.loops import generator
from scheduler.loops.skipped_arrivals import ARRIVAL_SKIPPED
from scheduler.models import ClusterEvent, Control, Gpu, Job
from scheduler.verdict.judge import judge

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture(autouse=True)
def load(tmp_path: Any, settings: Any) -> Any:
    """Two types in equal shares, ten jobs a second."""
    file = tmp_path / "mine.toml"
    file.write_text(
        "[arrivals]\nshape = 'steady'\n"
        "[[jobs.rows]]\ntype = 'sleep'\nweight = 1\n[[jobs.rows]]\ntype = 'compute'\nweight = 1\n"
    )
    settings.GENERATOR_CONFIG = str(file)
    generator.workload.cache_clear()
    yield
    generator.workload.cache_clear()


def ticks(count: int = 3) -> list[Any]:
    change_control(actor="a test", rate_per_minute=600)
    now = database_now()
    generator.tick(now)
    return [job for number in range(1, count + 1) for job in generator.tick(now + timedelta(seconds=2 * number))]


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def broken(method: str, what: object) -> Any:
    """`compute` with this cost model: a value, or an exception that it raises."""
    made: Callable[..., object] = lambda *_: what  # noqa: E731
    effect = {"side_effect": what} if isinstance(what, Exception) else {"new": made}
    return patch.object(type(catalogue()["compute"]), method, **effect)


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("gpu_memory_mib", ValueError("no memory model\0\ud800")),
        ("duration_seconds", ZeroDivisionError("division by zero")),
        ("load", Mute()),
        ("gpu_memory_mib", "much"),
        ("gpu_memory_mib", 2**80),
        ("gpu_memory_mib", -1),
        ("load", "high"),
        ("load", float("nan")),
    ],
    ids=lambda each: repr(each)[:30].replace("\0", "."),
)
def test_a_type_that_cannot_be_made_is_skipped_counted_and_said_once(
    control: Control, method: str, what: object
) -> None:
    # No GPU has told its memory yet: nothing is too large for it.
    Gpu.objects.update(memory_total_mib=None)

    with broken(method, what):
        made = ticks()

    types = set(Job.objects.values_list("type", flat=True))
    arrivals = Control.objects.get().arrivals
    skipped = TotalsReader().read(database_now()).of(ARRIVAL_SKIPPED)
    assert types == {"sleep"}
    assert len(made) == Job.objects.count() > 10
    assert skipped > 10
    assert arrivals - len(made) - skipped in {0, 1}  # the next arrival may be drawn already
    [event] = ClusterEvent.objects.filter(kind=ARRIVAL_SKIPPED)
    assert event.message.startswith("Arrivals of the job type compute are skipped: ")
    assert not [breach for breach in judge().breaches if breach.rule == "counts_add_up"]


def test_it_is_said_again_after_an_hour_and_for_each_cause(control: Control) -> None:
    with broken("load", ValueError("first")):
        ticks()
        ClusterEvent.objects.update(at=F("at") - timedelta(minutes=61))
        ticks()
    with broken("load", KeyError("second")):
        ticks()

    assert ClusterEvent.objects.filter(kind=ARRIVAL_SKIPPED).count() == 3


def test_an_unavailable_database_is_no_reason_to_skip_a_job(control: Control) -> None:
    with patch.object(submit, "insert", side_effect=OperationalError("server closed")), pytest.raises(OperationalError):
        ticks()

    assert not Job.objects.exists()
    assert not ClusterEvent.objects.filter(kind=ARRIVAL_SKIPPED).exists()
