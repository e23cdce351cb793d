"""Queues by priority and by GPU memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.rules.queues import PLAIN_QUEUES, StrictOrder, Tiers, reading_order, tiers_of
from scheduler.rules.states import PRIORITY_ORDER, Priority

#: An A10, an A100 of 40 GB, an A100 of 80 GB, an H100: as nvidia-smi shows them.
A10, A100_40, A100_80, H100 = 23_028, 40_960, 81_920, 81_559

HIGH = Priority.HIGH


@pytest.mark.parametrize(
    ("totals", "needed", "queue"),
    [
        ([], 70_000, "high"),
        ([H100, H100], 70_000, "high"),
        ([H100, A100_40], 0, "high"),
        ([H100, A100_40], A100_40, "high"),
        ([H100, A100_40], A100_40 + 1, "high.80g"),
        ([H100, A100_40], H100, "high.80g"),
        ([H100, A100_40], H100 + 1, None),
        ([H100, A10, A100_40], A10 + 1, "high.40g"),
        ([H100, A10, A100_40], A100_40 + 1, "high.80g"),
        # One tier: 79.6 and 80 GiB.
        ([H100, A100_80], 81_000, "high"),
        ([H100, A100_80], 81_600, "high"),
        ([H100, A100_80, A100_40], 81_600, "high.80g"),
        ([H100, A100_80, 98_304], 81_600, "high.96g"),
        # What a GPU does not tell makes no tier beside those that tell it.
        ([None, H100], 70_000, "high"),
        ([None], 0, "high"),
        ([None], 1, None),
    ],
)
def test_a_job_waits_in_the_queue_of_the_smallest_tier_that_fits(
    totals: list[int | None], needed: int, queue: str | None
) -> None:
    assert tiers_of(totals).queue_of(HIGH, needed) == queue


def test_where_gpus_are_alike_there_are_only_the_four_queues() -> None:
    tiers = tiers_of([H100] * 8)

    assert tiers.sizes_gib == ()
    assert tiers.read_by(H100) == PLAIN_QUEUES


def test_a_gpu_reads_the_tiers_that_fit_it_largest_first_within_each_priority() -> None:
    tiers = tiers_of([A10, A100_40, H100])

    assert tiers.read_by(H100)[:6] == ("critical.80g", "critical.40g", "critical", "high.80g", "high.40g", "high")
    assert tiers.read_by(A100_40)[:4] == ("critical.40g", "critical", "high.40g", "high")
    assert tiers.read_by(A10) == PLAIN_QUEUES
    assert tiers.read_by(None) == PLAIN_QUEUES


def test_the_largest_gpu_is_known() -> None:
    assert tiers_of([A100_40, None, H100]).largest_mib == H100
    assert tiers_of([]).largest_mib is None
    assert tiers_of([None]).largest_mib == 0


TOTALS = st.lists(st.none() | st.integers(1024, 200_000), max_size=8)


@given(TOTALS, st.integers(0, 250_000), st.sampled_from(Priority))
def test_every_job_that_fits_some_gpu_has_a_queue_that_such_a_gpu_reads(
    totals: list[int | None], needed: int, priority: Priority
) -> None:
    tiers = tiers_of(totals)
    queue = tiers.queue_of(priority, needed)
    fitting = [total for total in totals if total is not None and needed <= total]

    if fitting:
        assert queue is not None
        assert any(queue in tiers.read_by(total) for total in fitting)
    elif any(totals):
        assert queue is None


@given(TOTALS, st.integers(0, 250_000))
def test_a_gpu_that_is_too_small_by_a_gib_never_reads_the_job(totals: list[int | None], needed: int) -> None:
    tiers = tiers_of(totals)
    queue = tiers.queue_of(HIGH, needed)

    too_small = [total for total in totals if total is not None and total < needed - 1024]
    assert all(queue not in tiers.read_by(total) for total in too_small)


@given(TOTALS, st.integers(0, 250_000))
def test_the_queues_divide_all_sizes_of_jobs_among_them(totals: list[int | None], needed: int) -> None:
    def takes(tiers: Tiers) -> list[str]:
        return [
            queue.name
            for queue in tiers.queues(HIGH)
            if (queue.above_mib is None or needed > queue.above_mib)
            and (queue.up_to_mib is None or needed <= queue.up_to_mib)
        ]

    tiers = tiers_of(totals)
    name = tiers.queue_of(HIGH, needed)
    assert takes(tiers) == ([] if name is None else [name])


@given(TOTALS, st.randoms(use_true_random=False), st.integers(0, 200_000))
def test_a_worker_looks_strictly_by_priority_however_its_queues_were_added(
    totals: list[int | None], random: object, memory: int
) -> None:
    names = list(tiers_of(totals).read_by(memory))
    shuffled = random.sample(names, len(names))  # type: ignore[attr-defined]
    order = StrictOrder(shuffled[:2])

    order.update(shuffled)

    assert order.consume(len(names)) == names
    ranks = [PRIORITY_ORDER.index(Priority(name.split(".")[0])) for name in names]
    assert ranks == sorted(ranks)


def test_a_queue_that_was_just_served_keeps_its_place() -> None:
    order = StrictOrder(["high", "low"])

    order.rotate("high")

    assert order.consume(2) == ["high", "low"]


def test_the_queue_of_the_ticks_is_no_job_queue_and_comes_last() -> None:
    assert sorted(["control", "low", "critical.80g"], key=reading_order) == ["critical.80g", "low", "control"]
