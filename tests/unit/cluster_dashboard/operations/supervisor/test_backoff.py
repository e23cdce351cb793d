"""When a process that ended starts again."""

from cluster_dashboard.operations.supervisor.backoff import Backoff


def test_the_first_end_costs_no_time_and_the_next_ones_more_and_more():
    backoff = Backoff()

    delays = [backoff.delay_after(lived_seconds=1.0, worked=False) for _ in range(8)]

    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_who_worked_starts_again_at_once_four_times_in_a_row():
    backoff = Backoff()

    delays = [backoff.delay_after(lived_seconds=1.0, worked=True) for _ in range(7)]

    assert delays == [0.0, 0.0, 0.0, 0.0, 0.5, 1.0, 2.0]


def test_kills_that_are_ten_seconds_apart_never_cost_time():
    backoff = Backoff()

    assert {backoff.delay_after(lived_seconds=10.0, worked=True) for _ in range(100)} == {0.0}


def test_who_lived_for_half_a_minute_starts_again_at_once():
    backoff = Backoff()
    for _ in range(5):
        backoff.delay_after(lived_seconds=1.0, worked=False)

    assert backoff.delay_after(lived_seconds=30.0, worked=False) == 0.0


def test_a_process_that_fails_for_days_keeps_the_longest_delay():
    backoff = Backoff()
    for _ in range(20_000):
        backoff.delay_after(lived_seconds=0.1, worked=False)

    assert backoff.delay_after(lived_seconds=0.1, worked=False) == 15.0
