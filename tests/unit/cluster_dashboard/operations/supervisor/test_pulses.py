"""Which processes the supervisor ends because they are frozen."""

from __future__ import annotations

from cluster_dashboard.operations.supervisor.pulses import ALL_QUIET_SECONDS, FROZEN_SECONDS, Pulses

NAMES = ("scheduler", "web", "gpu-0")


class Watched:
    """Processes that touch their files once a second, on a clock of their own."""

    def __init__(self) -> None:
        self.pulses, self.now, self.values = Pulses(), 0.0, dict.fromkeys(NAMES, 0)
        self.frozen: list[str] = []

    def pass_time(self, seconds: float, *quiet: str, step: float = 1.0) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += step
            for name in self.values.keys() - set(quiet):
                self.values[name] += 1
            self.frozen += self.pulses.look(self.values, self.now)


def test_a_frozen_process_is_found_after_its_term_and_no_other() -> None:
    watched = Watched()
    watched.pass_time(10)

    watched.pass_time(FROZEN_SECONDS, "web")
    assert watched.frozen == []
    watched.pass_time(2, "web")

    assert set(watched.frozen) == {"web"}


def test_a_process_that_resumes_in_time_is_left_alone() -> None:
    watched = Watched()
    watched.pass_time(10)
    watched.pass_time(FROZEN_SECONDS - 1, "web")

    watched.pass_time(FROZEN_SECONDS * 2)

    assert watched.frozen == []


def test_nobody_is_ended_after_all_were_suspended_together_with_the_supervisor() -> None:
    watched = Watched()
    watched.pass_time(10)
    watched.now += 8 * 3600

    watched.pass_time(3, *NAMES)  # they resume a little later
    watched.pass_time(FROZEN_SECONDS)

    assert watched.frozen == []


def test_nobody_is_ended_when_all_but_the_supervisor_were_suspended() -> None:
    watched = Watched()
    watched.pass_time(10)
    watched.pass_time(10 * FROZEN_SECONDS, *NAMES)

    watched.pass_time(2, "web", "gpu-0")  # the scheduler resumes first
    watched.pass_time(5)

    assert watched.frozen == []


def test_a_process_that_starts_for_long_is_not_judged_by_its_predecessors_file() -> None:
    watched = Watched()

    watched.pass_time(10 * FROZEN_SECONDS, "web")

    assert watched.frozen == []


def test_a_successor_gets_a_term_of_its_own() -> None:
    watched = Watched()
    watched.pass_time(10)
    watched.pass_time(FROZEN_SECONDS + 2, "web")
    watched.pulses.forget("web")
    watched.frozen.clear()

    watched.pass_time(FROZEN_SECONDS, "web")

    assert watched.frozen == []


def test_one_that_stops_in_order_is_not_judged() -> None:
    watched = Watched()
    watched.pass_time(10)
    del watched.values["web"]

    watched.pass_time(2 * FROZEN_SECONDS)

    assert watched.frozen == []
    assert ALL_QUIET_SECONDS < FROZEN_SECONDS
