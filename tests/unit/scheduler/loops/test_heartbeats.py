"""The judge of heartbeats: pure, with a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.loops.heartbeats import BEAT_SECONDS, SILENCE_SECONDS, Beat, Finding, Judge, RunningJob

JOB = RunningJob(job_id=7, attempt=2, gpu=0, boot="a")


def a_beat(seq: int, *, boot: str = "a", held: tuple[tuple[int, int], ...] = ((7, 2),)) -> Beat:
    return Beat(gpu=0, boot=boot, seq=seq, pid=1, child_pid=2, host="h", held=held, health="healthy", note="", at=0.0)


def test_a_worker_is_silent_exactly_after_its_term():
    judge = Judge()
    judge.judge({0: a_beat(1)}, [JOB], 0.0)

    findings = {now / 2: judge.judge({0: a_beat(1)}, [JOB], now / 2) for now in range(1, 20)}

    assert [now for now, found in findings.items() if found] == [SILENCE_SECONDS, SILENCE_SECONDS + 0.5]


def test_another_jobs_silence_is_not_this_workers():
    judge = Judge()
    other = RunningJob(job_id=8, attempt=1, gpu=1, boot="b")
    for tick in range(30):
        found = judge.judge({0: a_beat(tick)}, [JOB, other], tick / 2)

    assert found == [(other, Finding.SILENT)]


def test_a_job_that_waits_on_its_workers_disk_is_listed_and_safe():
    judge = Judge()

    found = [judge.judge({0: a_beat(tick, held=((9, 1), (7, 2)))}, [JOB], float(tick)) for tick in range(10)]

    assert found == [[]] * 10


def test_one_beat_without_the_job_is_not_enough():
    judge = Judge()
    judge.judge({0: a_beat(1)}, [JOB], 0.0)
    judge.judge({0: a_beat(2, held=())}, [JOB], 2.0)

    assert judge.judge({0: a_beat(3)}, [JOB], 4.0) == []
    assert judge.judge({0: a_beat(4, held=())}, [JOB], 6.0) == []


def test_the_same_attempt_number_of_another_job_does_not_protect_it():
    judge = Judge()
    for tick in range(3):
        found = judge.judge({0: a_beat(tick, held=((8, 2),))}, [JOB], float(tick))

    assert found == [(JOB, Finding.NOT_LISTED)]


@given(st.lists(st.floats(0.1, 2.9), min_size=5, max_size=40))
def test_a_beating_worker_is_never_called_dead(gaps):
    """Whatever the reaper's own rhythm, below the limit of its freshness."""
    judge, now, found = Judge(), 0.0, []
    for gap in gaps:
        now += gap
        found += judge.judge({0: a_beat(int(now / BEAT_SECONDS))}, [JOB], now)

    assert found == []


@given(st.lists(st.floats(3.0, 1000.0), min_size=2, max_size=20))
def test_a_reaper_that_reads_too_rarely_declares_no_worker_dead(gaps):
    """Each gap in its own reads gives everybody a fresh term."""
    judge, now, found = Judge(), 0.0, []
    for gap in gaps:
        now += gap
        found += judge.judge({0: a_beat(1)}, [JOB], now)

    assert found == []
