from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.rules.outcomes import Failures, failures

COUNTS = st.dictionaries(
    st.sampled_from(["succeeded", "failed", "requeued", "cancelled", "started"]), st.integers(0, 99)
)


def test_of_nine_successes_and_one_failure_a_tenth_failed() -> None:
    found = failures({"succeeded": 9, "failed": 1})

    assert (found, found.share) == (Failures(failed=1, finished=10), 0.1)


def test_a_requeue_that_was_charged_is_a_failure() -> None:
    assert failures({"succeeded": 1, "failed": 1, "requeued": 2}) == Failures(failed=3, finished=4)


@given(COUNTS, st.integers(0, 10_000))
def test_cancelled_jobs_change_no_share(counts: dict[str, int], cancelled: int) -> None:
    assert failures({**counts, "cancelled": cancelled}) == failures(counts)


@given(COUNTS)
def test_a_share_is_from_0_to_1_and_unknown_if_nothing_finished(counts: dict[str, int]) -> None:
    found = failures(counts)

    assert (found.share is None) == (found.finished == 0)
    assert found.share is None or 0 <= found.share <= 1


def test_only_cancelled_jobs_have_no_share() -> None:
    assert failures({"cancelled": 2_500}).share is None
