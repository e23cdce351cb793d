"""When a process that ended starts again."""

from cluster_dashboard.operations.supervisor.backoff import Backoff


def test_the_first_end_costs_no_time_and_the_next_ones_more_and_more():
    backoff = Backoff()

    delays = [backoff.delay_after(lived_seconds=1.0) for _ in range(8)]

    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_who_lived_for_half_a_minute_starts_again_at_once():
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_after(lived_seconds=1.0)

    assert backoff.delay_after(lived_seconds=30.0) == 0.0


def test_a_process_that_fails_for_days_keeps_the_longest_delay():
    backoff = Backoff()
    for _ in range(20_000):
        backoff.delay_after(lived_seconds=0.1)

    assert backoff.delay_after(lived_seconds=0.1) == 15.0
