from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.rules.placement import Place
from scheduler.rules.states import Priority
from scheduler.rules.waiting import (
    AGEING_BUDGET_MAXIMUM,
    AGEING_PRIORITIES,
    AGEING_SECONDS,
    Wait,
    ageing_budget,
    ageing_order,
    effective_priority,
    has_aged,
    order_in_queue,
    waits_because,
)


@pytest.mark.parametrize(
    ("priority", "waited", "expected"),
    [
        ("low", 59, "low"),
        ("low", 60, "normal"),
        ("low", 120, "high"),
        ("low", 9999, "high"),
        ("normal", 61, "high"),
        ("high", 9999, "high"),
        ("critical", 9999, "critical"),
    ],
)
def test_waiting_raises_the_priority_but_never_to_critical(priority: str, waited: float, expected: str) -> None:
    assert effective_priority(Priority(priority), waited) == expected


@pytest.mark.parametrize("priority", Priority)
def test_only_priorities_below_high_can_rise(priority: Priority) -> None:
    assert has_aged(priority, AGEING_SECONDS) is (priority in AGEING_PRIORITIES)
    assert not has_aged(priority, AGEING_SECONDS - 0.000001)


def test_a_tenth_of_the_starts_is_kept_for_aged_jobs_up_to_a_maximum() -> None:
    assert ageing_budget(0.0, 20) == pytest.approx(2.0)
    assert ageing_budget(1.5, 5) == pytest.approx(2.0)
    assert ageing_budget(0.0, 1_000_000) == AGEING_BUDGET_MAXIMUM


def test_a_count_of_starts_that_fell_takes_nothing_from_the_budget() -> None:
    """Such as after a backup was restored."""
    assert ageing_budget(3.0, -500) == 3.0


def test_jobs_that_ran_before_come_first_then_the_oldest() -> None:
    new, second, third = (
        order_in_queue(job_id=job_id, attempt=attempt) for job_id, attempt in [(1, 1), (2, 3), (3, 2)]
    )

    assert second < third < new < order_in_queue(job_id=4, attempt=1)


def test_of_aged_jobs_the_one_that_waited_longest_comes_first() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    earlier = now - timedelta(seconds=90)

    assert ageing_order(job_id=9, queued_at=earlier) < ageing_order(job_id=1, queued_at=now)
    assert ageing_order(job_id=1, queued_at=now) < ageing_order(job_id=2, queued_at=now)


# --- why it waits

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def a_place(gpu: int, total: int | None, closed: str | None = None) -> Place:
    return Place(gpu=gpu, memory_total_mib=total, takes_jobs=closed is None, closed_because=closed or "")


def a_wait(*, ahead: int = 0, back_off: float = -1, elsewhere: float | None = None, gpu: int | None = None) -> Wait:
    return Wait(
        needed_mib=60_000,
        not_before=NOW + timedelta(seconds=back_off),
        gpu=gpu,
        elsewhere_until=None if elsewhere is None else NOW + timedelta(seconds=elsewhere),
        ahead=ahead,
    )


CLOSED = [(1, "drained"), (2, "Xid"), (3, "drained")]
TWO = [a_place(0, 81_559), a_place(1, 81_559)]


@pytest.mark.parametrize(
    ("wait", "places", "busy", "because"),
    [
        (a_wait(), [], set(), "no GPU has been registered yet"),
        (
            a_wait(),
            [a_place(0, 40_960), a_place(1, None)],
            set(),
            "it needs 60000 MiB of GPU memory; the largest GPU has 40960",
        ),
        (
            a_wait(ahead=5),
            [a_place(0, 40_960), *(a_place(gpu, 81_559, why) for gpu, why in CLOSED)],
            set(),
            "no GPU with 60000 MiB of memory takes jobs now: GPU 1, 3: drained; GPU 2: Xid",
        ),
        (
            a_wait(),
            [a_place(1, 81_559, "")],
            set(),
            "no GPU with 60000 MiB of memory takes jobs now: GPU 1: no worker has started",
        ),
        (a_wait(back_off=5, ahead=3), TWO, set(), "it failed and backs off until 12:00:05 UTC"),
        (a_wait(ahead=37), TWO, {0, 1}, "behind 37 jobs of the same or a higher priority"),
        (a_wait(ahead=1), TWO, {0, 1}, "behind 1 job of the same or a higher priority"),
        (a_wait(ahead=1_000), TWO, {0, 1}, "behind 1,000 jobs of the same or a higher priority"),
        (a_wait(ahead=1_001), TWO, {0, 1}, "behind more than 1,000 jobs of the same or a higher priority"),
        (a_wait(), TWO, {0, 1}, "next in line; every GPU that it may run on is busy"),
        (a_wait(), TWO, {0}, "next in line; a GPU takes it at any moment"),
        (
            a_wait(gpu=0, elsewhere=2, ahead=4),
            TWO,
            {0, 1},
            (
                "it failed on GPU 0 and is left to another GPU until 12:00:02 UTC; "
                "behind 4 jobs of the same or a higher priority"
            ),
        ),
        (a_wait(gpu=0, elsewhere=2), TWO, set(), "it failed on GPU 0 and is left to another GPU until 12:00:02 UTC"),
        (a_wait(gpu=0, elsewhere=2), TWO[:1], set(), "next in line; a GPU takes it at any moment"),
        (a_wait(gpu=0, elsewhere=-1), TWO, set(), "next in line; a GPU takes it at any moment"),
    ],
)  # fmt: skip
def test_a_waiting_job_says_why(wait: Wait, places: list[Place], busy: set[int], because: str) -> None:
    assert waits_because(wait, places, busy, NOW) == because
