from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.rules.placement import Place
from scheduler.rules.states import Priority
from scheduler.rules.waiting import (
    AGEING_PRIORITIES,
    AgeingBudget,
    Wait,
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
    assert effective_priority(Priority(priority), waited, 60.0) == expected


def test_a_shorter_period_raises_sooner() -> None:
    assert effective_priority(Priority.LOW, 4.0, 2.0) is Priority.HIGH
    assert effective_priority(Priority.LOW, 4.0, 4.5) is Priority.LOW


@pytest.mark.parametrize("priority", Priority)
def test_only_priorities_below_high_can_rise(priority: Priority) -> None:
    assert has_aged(priority, 7.0, 7.0) is (priority in AGEING_PRIORITIES)
    assert not has_aged(priority, 7.0 - 0.000001, 7.0)


def budget_after(*starts: int, share: float = 0.1) -> AgeingBudget:
    budget = AgeingBudget(share)
    for n in starts:
        budget.earn(n)
    return budget


def test_an_aged_job_may_rise_after_each_ten_starts() -> None:
    rooms = [budget_after(*[1] * starts).room(0) for starts in range(11)]

    assert rooms == [0] * 10 + [1]
    assert budget_after(25).room(0) == 2
    assert budget_after(4, share=0.5).room(0) == 2
    assert budget_after(1_000_000, share=0.0).room(0) == 0


def test_a_share_that_no_job_used_is_kept_for_one_start_only() -> None:
    assert budget_after(1_000, 0).room(0) == 1
    assert budget_after(*[10] * 100, 10).room(0) == 2


def test_the_share_is_spent_at_the_start_and_held_until_then() -> None:
    budget = budget_after(10)

    assert (budget.room(0), budget.room(1)) == (1, 0)
    budget.spend(1)
    assert budget.room(0) == 0


def test_a_start_without_a_place_is_made_up_for() -> None:
    budget = budget_after(10)
    budget.spend(2)

    rooms = []
    for _ in range(20):
        budget.earn(1)
        rooms.append(budget.room(0))

    assert rooms == [0] * 19 + [1]


def test_a_count_of_starts_that_fell_takes_nothing_from_the_budget() -> None:
    """Such as after a backup was restored."""
    assert budget_after(10, -500).room(0) == 1


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
