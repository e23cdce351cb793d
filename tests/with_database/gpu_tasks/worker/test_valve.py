"""The valve of a GPU, with its child watch: which queues the GPU reads, and why it reads none."""

from __future__ import annotations

import os
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from itertools import count
from unittest.mock import patch

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError
from django.db.models import F

from gpu_tasks.processes.job_processes import Record
from gpu_tasks.processes.proc import children_of
from gpu_tasks.worker.child_watch import PROVE_AGAIN_SECONDS, ChildWatch
from gpu_tasks.worker.commit import Commit, Ending
from gpu_tasks.worker.held import Held
from gpu_tasks.worker.quarantine import lift_quarantine, quarantine_broken, quarantine_cuda
from gpu_tasks.worker.spool import Spool
from gpu_tasks.worker.valve import (
    DATABASE_REFUSES,
    DATABASE_UNAVAILABLE,
    ELIGIBILITY_SECONDS,
    QUIET_SECONDS,
    REPLACING,
    GpuUse,
    Valve,
)
from gpu_tasks.worker.witness import Witness
from scheduler.jobs import lifecycle
from scheduler.models import Gpu, Job
from scheduler.rules.gpu import GpuFault, GpuHealth
from scheduler.rules.placement import ClaimRefusal
from scheduler.rules.queues import PLAIN_QUEUES
from scheduler.rules.states import JobState, Reason
from tests.build import running
from tests.unit.builders import a_reading

pytestmark = pytest.mark.usefixtures("gpus")


@dataclass
class FakePool:
    """A worker without processes."""

    reading: list[tuple[str, ...]] = field(default_factory=list)

    def child_pid(self):
        return None

    def child_pids(self):
        # All are spared: the databases of the tests are children of this process too.
        return children_of(os.getpid())

    def respawn(self):
        raise AssertionError("there is no child")

    def replace(self, pid):
        raise AssertionError("there is no child")

    def consume(self, queues):
        self.reading.append(tuple(queues))


@pytest.fixture
def pool():
    return FakePool()


@pytest.fixture
def commit(tmp_path):
    witness = Witness(tmp_path / "witness", 0, "boot-0")
    return Commit(gpu=0, boot="boot-0", spool=Spool(tmp_path / "spool"), witness=witness)


@pytest.fixture
def valve(pool, commit):
    return Valve(gpu=0, boot="boot-0", held=Held(), commit=commit, pool=pool, reading_of_gpu=a_reading)


@pytest.fixture
def watch(pool, commit, valve, tmp_path):
    record = Record(tmp_path / "processes")
    return ChildWatch(gpu=0, held=valve.held, commit=commit, valve=valve, pool=pool, record=record)


@pytest.fixture
def now(monkeypatch):
    """Each call is a quarter of a second later, far from the last check."""
    ticks = count(1000.0, 0.25)
    seconds = [0.0]

    def tick(later: float = 0.0) -> float:
        seconds[0] = next(ticks) + later
        return seconds[0]

    monkeypatch.setattr("gpu_tasks.worker.valve.time.monotonic", lambda: seconds[0])
    return tick


def failed_here():
    """A job that failed on GPU 0, whose back-off has passed."""
    job = running(gpu=0)
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED)
    moved = timedelta(seconds=1.5)
    Job.objects.update(not_before=F("not_before") - moved, elsewhere_until=F("elsewhere_until") - moved)
    assert lifecycle.claim(job.id, 2, gpu=0, boot="boot-0") is ClaimRefusal.ELSEWHERE
    return job


def test_a_returned_hint_shuts_the_valve_at_once_with_the_reason_as_its_note(watch, valve, pool, now):
    watch.tick(now())

    valve.hint_returned(7, 1, ClaimRefusal.GPU_BUSY)

    assert pool.reading == [PLAIN_QUEUES, ()]
    assert valve.note == "another job still holds it"


def test_it_opens_again_at_the_next_check(watch, valve, pool, now):
    watch.tick(now())
    valve.hint_returned(7, 1, ClaimRefusal.GPU_BUSY)

    watch.tick(now())
    assert pool.reading[-1] == ()

    watch.tick(now(later=ELIGIBILITY_SECONDS))
    assert pool.reading[-1] == PLAIN_QUEUES
    assert valve.note == ""


def test_a_job_that_failed_here_is_left_to_others_until_its_time_has_passed(watch, valve, pool, now):
    job = failed_here()
    watch.tick(now())
    valve.hint_returned(job.id, 2, ClaimRefusal.ELSEWHERE)

    watch.tick(now(later=ELIGIBILITY_SECONDS))
    assert pool.reading[-1] == ()

    Job.objects.update(elsewhere_until=F("not_before"))
    watch.tick(now())
    assert pool.reading[-1] == PLAIN_QUEUES


def test_a_job_that_failed_here_and_was_taken_elsewhere_no_longer_shuts_the_valve(watch, valve, pool, now):
    job = failed_here()
    watch.tick(now())
    valve.hint_returned(job.id, 2, ClaimRefusal.ELSEWHERE)

    lifecycle.claim(job.id, 2, gpu=1, boot="boot-1")
    watch.tick(now())

    assert pool.reading[-1] == PLAIN_QUEUES


def test_another_gpu_counts_only_if_the_job_fits_it():
    Gpu.objects.exclude(index=0).update(memory_total_mib=1024)
    job = running(gpu=0)
    lifecycle.requeue(job.id, 1, Reason.CHILD_DIED)
    Job.objects.update(not_before=F("queued_at"))

    assert isinstance(lifecycle.claim(job.id, 2, gpu=0, boot="boot-0"), lifecycle.Claimed)


def test_a_gpu_follows_when_the_tiers_change(watch, valve, pool, now):
    watch.tick(now())

    Gpu.objects.filter(index=2).update(memory_total_mib=40_960)
    watch.tick(now(later=ELIGIBILITY_SECONDS))

    assert pool.reading[-1][:2] == ("critical.80g", "critical")


def test_a_database_that_fails_shuts_the_valve_until_it_answers(watch, valve, pool, now, caplog):
    caplog.set_level("INFO")
    watch.tick(now())
    with patch("django.db.backends.utils.CursorWrapper.execute", side_effect=OperationalError("refused")):
        results = [watch.tick(now(later=ELIGIBILITY_SECONDS)) for _ in range(2)]
    assert (results, valve.note, pool.reading[-1]) == ([False, False], DATABASE_UNAVAILABLE, ())

    assert watch.tick(now(later=3 * ELIGIBILITY_SECONDS))

    assert pool.reading[-1] == PLAIN_QUEUES
    messages = [record.message for record in caplog.records]
    assert [messages.count(event) for event in ("database_unreachable", "database_recovered")] == [1, 1]


@pytest.mark.parametrize(
    ("error", "note", "event"),
    [
        (InterfaceError("closed"), DATABASE_UNAVAILABLE, "database_unreachable"),
        (ProgrammingError("no such table"), DATABASE_REFUSES, "database_refused"),
    ],
    ids=repr,
)
def test_the_note_says_whether_waiting_helps(watch, valve, now, caplog, error, note, event):
    watch.tick(now())
    with patch("django.db.backends.utils.CursorWrapper.execute", side_effect=error):
        for later in (ELIGIBILITY_SECONDS, 2 * ELIGIBILITY_SECONDS):
            watch.tick(now(later=later))

    assert valve.note == note
    assert [record.message for record in caplog.records if record.message.startswith("database")] == [event]


def test_a_kept_result_that_can_never_be_committed_does_not_shut_the_valve(watch, valve, pool, now, tmp_path):
    job = running(gpu=1, boot="boot-1")
    valve.commit.spool.keep((job.id, 1), {"job": "torn"})

    watch.tick(now())

    assert (valve.note, pool.reading) == ("", [PLAIN_QUEUES])


def test_a_tick_that_asks_the_database_nothing_does_not_say_that_it_has_recovered(watch, valve, now):
    watch.tick(now())
    with patch("django.db.backends.utils.CursorWrapper.execute", side_effect=OperationalError("refused")):
        watch.tick(now(later=ELIGIBILITY_SECONDS))

    assert not watch.tick(now(later=ELIGIBILITY_SECONDS))
    assert valve.note == DATABASE_UNAVAILABLE


def test_a_check_that_began_before_a_hint_was_returned_does_not_open_the_valve(valve, pool, now):
    def reading():
        valve.hint_returned(7, 1, ClaimRefusal.GPU_BUSY)
        return a_reading()

    valve.reading_of_gpu = reading

    valve.check(now(), GpuUse())

    assert valve.note == "another job still holds it"
    assert not any(pool.reading)


def test_no_hint_is_read_while_the_job_process_is_replaced_and_the_check_follows_at_once(valve, pool, now):
    valve.check(now(), GpuUse())

    valve.check(now(), GpuUse(is_replacing=True))
    assert (valve.note, pool.reading[-1]) == (REPLACING, ())

    valve.check(now(), GpuUse())
    assert (valve.note, pool.reading[-1]) == ("", PLAIN_QUEUES)


def test_a_process_of_an_earlier_job_keeps_the_valve_shut(valve, pool, now):
    valve.check(now(), GpuUse(left_over=(4711,)))

    assert valve.note == "process 4711 of an earlier job does not end"
    assert not any(pool.reading)


def test_kept_endings_are_committed_before_the_valve_opens(valve, commit, pool, now):
    job = running(gpu=0)
    commit.spool.keep((job.id, 1), asdict(Ending(job_id=job.id, attempt=1, state=JobState.SUCCEEDED, result={})))

    valve.check(now(), GpuUse())

    assert Job.objects.get(id=job.id).state == JobState.SUCCEEDED
    assert pool.reading == [PLAIN_QUEUES]


def test_a_job_of_an_older_boot_keeps_the_valve_shut(valve, pool, now):
    job = running(gpu=0)
    Job.objects.filter(id=job.id).update(boot="older")

    valve.check(now(), GpuUse())

    assert valve.note == "a job of an older worker still holds it"
    assert not any(pool.reading)


def test_memory_in_use_is_left_over_only_in_a_reading_that_began_long_enough_after_the_last_job(valve, now):
    checks = count(1)

    def note(quiet_seconds: float | None) -> str:
        valve.reading_of_gpu = lambda: a_reading(memory_used_mib=1_520, quiet_seconds=quiet_seconds)
        valve.check(now(later=next(checks) * ELIGIBILITY_SECONDS), GpuUse())
        return valve.note

    assert note(None) == note(QUIET_SECONDS - 0.1) == ""
    assert note(QUIET_SECONDS) == "1520 MiB of its memory are in use, and no job runs"


def test_the_note_says_why_the_gpu_is_unknown(valve, pool, now):
    valve.reading_of_gpu = lambda: a_reading(health=GpuHealth.UNKNOWN, note="its driver has not answered for 2 s")

    valve.check(now(), GpuUse())

    assert (valve.note, pool.reading) == ("its driver has not answered for 2 s", [()])


ABOVE_EVERY_PID = 2**22 + 1
XID_79 = GpuFault(number=1, words="Xid 79: the GPU has fallen off the bus")


def test_a_fault_of_the_gpu_takes_it_out_of_service_once(watch, valve, now):
    valve.reading_of_gpu = lambda: a_reading(last_fault=XID_79)

    watch.tick(now())
    assert valve.note == f"quarantined: GPU fault: {XID_79.words}"

    # Released by a person: the same fault is no new one.
    Gpu.objects.update(quarantined="")
    watch.tick(now(later=ELIGIBILITY_SECONDS))
    assert valve.note == ""


def test_a_fault_that_the_database_did_not_hear_of_is_told_again(watch, valve, now):
    valve.reading_of_gpu = lambda: a_reading(last_fault=XID_79)
    with patch("django.db.backends.utils.CursorWrapper.execute", side_effect=OperationalError("refused")):
        watch.tick(now())

    watch.tick(now(later=ELIGIBILITY_SECONDS))

    assert Gpu.objects.get(index=0).quarantined == f"GPU fault: {XID_79.words}"


def test_a_job_process_that_died_of_a_fault_of_its_gpu_died_of_nothing_else(watch, valve, now):
    job = running(gpu=0)
    with patch("os.getpid", lambda: ABOVE_EVERY_PID):
        valve.held.running(job.id, 1, time_limit_seconds=60, memory_mib=0, load=1.0)
    valve.reading_of_gpu = lambda: a_reading(last_fault=XID_79)

    watch.tick(now())

    found = Job.objects.get(id=job.id)
    assert (found.state, found.reason, found.failures) == (JobState.QUEUED, Reason.GPU_FAULT, 1)


@pytest.mark.parametrize(
    ("before", "after"), [("CUDA: it does not start", "GPU fault: 2"), ("GPU fault: 1", "GPU fault: 1")]
)
def test_the_first_fault_of_the_hardware_is_kept_and_outranks_cuda(before, after):
    Gpu.objects.filter(index=0).update(quarantined=before)

    quarantine_broken(0, "2")

    assert Gpu.objects.get(index=0).quarantined == after


def test_cuda_that_works_does_not_disprove_a_fault_of_the_hardware():
    quarantine_broken(0, "Xid 48: double-bit ECC error")
    quarantine_cuda(0, "it does not start")

    lift_quarantine(0)

    assert Gpu.objects.get(index=0).quarantined == "GPU fault: Xid 48: double-bit ECC error"


@dataclass
class PoolOfOne(FakePool):
    """A worker whose job process has this pid."""

    pid: int = ABOVE_EVERY_PID
    replaced: list[int] = field(default_factory=list)

    def child_pid(self):
        return self.pid

    def respawn(self):
        self.pid += 1

    def replace(self, pid):
        self.replaced.append(pid)


def test_a_job_process_that_dies_while_it_loads_cuda_quarantines_the_gpu_and_is_not_followed_by_a_hundred(
    watch, valve, now
):
    watch.pool = PoolOfOne()
    with patch("os.getpid", lambda: ABOVE_EVERY_PID):
        valve.held.loads_cuda(loads=True)

    at = now()
    watch.tick(at)

    assert Gpu.objects.get(index=0).quarantined == "CUDA: its job process died while it loaded CUDA"
    assert watch.pool.pid == ABOVE_EVERY_PID + 1
    assert [valve.held.may_load_cuda(at + later) for later in (1.0, PROVE_AGAIN_SECONDS)] == [False, True]


def test_a_job_process_that_is_killed_while_it_loads_cuda_did_not_die_of_it(watch, valve, now):
    with subprocess.Popen(["sleep", "600"]) as killed:
        watch.pool = PoolOfOne(pid=killed.pid)
        with patch("os.getpid", lambda: killed.pid):
            valve.held.loads_cuda(loads=True)
        killed.kill()
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)

        watch.tick(now())

    assert Gpu.objects.get(index=0).quarantined == ""


def test_a_gpu_whose_cuda_does_not_work_is_checked_again_by_a_new_job_process(watch, valve, now):
    watch.pool = PoolOfOne(pid=os.getpid())
    quarantine_cuda(0, "it does not start: CuPy cannot be imported: AttributeError")
    with patch("gpu_tasks.worker.child_watch._is_alive", lambda pid: True):
        for later in (0.0, 0.0, PROVE_AGAIN_SECONDS / 2):
            watch.tick(now(later=later))
        assert (watch.pool.replaced, valve.note[:17]) == ([], "quarantined: CUDA")

        watch.tick(now(later=PROVE_AGAIN_SECONDS + 2))
        watch.tick(now(later=PROVE_AGAIN_SECONDS + 2))

    assert watch.pool.replaced == [os.getpid()]


def test_a_note_whose_numbers_change_is_logged_once(valve, now, caplog):
    caplog.set_level("INFO")
    for temperature in (90.0, 91.0):
        valve.reading_of_gpu = lambda temperature=temperature: a_reading(temperature_c=temperature)
        valve.check(now(later=temperature * ELIGIBILITY_SECONDS), GpuUse())

    assert valve.note.startswith("91 °C")
    assert [record.message for record in caplog.records] == ["gpu_not_eligible"]
