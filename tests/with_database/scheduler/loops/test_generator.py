"""The generator on both databases."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from math import sqrt

import pytest
from django.db import OperationalError

from scheduler.jobs.clock import database_now
from scheduler.jobs.controls import change_control
from scheduler.loops import generator
from scheduler.models import ClusterEvent, Control, Gpu, Job, Tally

pytestmark = pytest.mark.usefixtures("gpus")

TRACE = "submitted,duration,gpus\n0,600,1\n60,1200,8\n600,60,1\n"


@pytest.fixture(autouse=True)
def _no_workload_is_kept():
    yield
    generator.workload.cache_clear()


@pytest.fixture
def use(tmp_path, settings):
    """Makes this text the generator's workload, as a restart of the cluster would."""

    def _use(text):
        (tmp_path / "trace.csv").write_text(TRACE)
        (tmp_path / "mine.toml").write_text(text)
        settings.GENERATOR_CONFIG = str(tmp_path / "mine.toml")
        generator.workload.cache_clear()

    return _use


def shape(name, **keys):
    return "\n".join(["[arrivals]", f'shape = "{name}"', *(f"{key} = {value}" for key, value in keys.items()), ""])


REPLAY = shape("replay", file='"trace.csv"', time_compression=60)


def tick_for(seconds, *, start=None, step=1.0):
    """Ticks once a `step`; gives the jobs made, and the time reached."""
    now = start or database_now()
    made = []
    for _ in range(int(seconds / step)):
        now += timedelta(seconds=step)
        made += generator.tick(now)
    return made, now


@pytest.mark.parametrize("rate_per_minute", [2, 12, 50])
def test_five_minutes_of_arrivals_fit_the_rate(control, rate_per_minute):
    change_control(actor="a test", rate_per_minute=rate_per_minute)

    made, _ = tick_for(300)

    expected = 5 * rate_per_minute
    assert abs(len(made) - expected) < 4 * sqrt(expected)


def test_jobs_that_fit_no_gpu_are_left_out_which_is_said_once(control):
    Gpu.objects.update(memory_total_mib=24_000)
    change_control(actor="a test", rate_per_minute=600)

    made, now = tick_for(30)
    tick_for(30, start=now)

    needed = set(Job.objects.values_list("gpu_memory_mib", flat=True))
    assert made
    assert max(needed) <= 24_000
    assert Control.objects.get().arrivals > Job.objects.count()
    [event] = ClusterEvent.objects.filter(kind="too_large")
    assert "24000 MiB" in event.message


def test_the_same_tick_twice_makes_nothing_twice(control):
    change_control(actor="a test", rate_per_minute=600)
    start = database_now()
    first = generator.tick(start)
    now = start + timedelta(seconds=5)

    made = generator.tick(now)

    assert first == []
    assert len(made) > 20
    assert generator.tick(now) == []
    assert Job.objects.count() == len(made)


def test_the_same_seed_makes_the_same_jobs_however_ticks_fall(control):
    start = database_now()
    Control.objects.update(rate_per_minute=300, next_arrival_at=start)
    made, _ = tick_for(10, start=start)
    coarse = list(Job.objects.order_by("id").values_list("type", "priority", "params"))
    Job.objects.all().delete()
    Control.objects.update(next_arrival_at=start, arrivals=0)

    tick_for(10, start=start, step=2.5)

    assert len(made) > 20
    assert list(Job.objects.order_by("id").values_list("type", "priority", "params")) == coarse


def test_a_changed_rate_redraws_the_next_arrival(control):
    change_control(actor="a test", rate_per_minute=0.1)
    now = database_now()
    generator.tick(now)
    assert Control.objects.get().next_arrival_at > now

    change_control(actor="a test", rate_per_minute=50_000)

    assert len(tick_for(1, start=now)[0]) == 0  # this tick draws the arrival, from now on
    assert len(generator.tick(now + timedelta(seconds=2))) > 100


def test_a_pause_makes_nothing_and_nothing_is_made_up_for_afterwards(control):
    change_control(actor="a test", rate_per_minute=600, paused=True)
    made, now = tick_for(60)

    change_control(actor="a test", paused=False)

    assert made == []
    assert len(generator.tick(now)) == 0
    assert len(tick_for(2, start=now)[0]) < 60


def test_after_a_long_stall_only_seconds_are_made_up_for(control):
    change_control(actor="a test", rate_per_minute=600)
    now = database_now()
    generator.tick(now)

    made = generator.tick(now + timedelta(hours=1))

    assert 100 < len(made) < 210  # 15 s at 10 a second


def test_many_arrivals_go_in_by_small_transactions(control, django_assert_max_num_queries):
    change_control(actor="a test", rate_per_minute=100_000)
    now = database_now()
    generator.tick(now)

    with django_assert_max_num_queries(120):
        made = generator.tick(now + timedelta(seconds=1))

    assert abs(len(made) - 1667) < 4 * sqrt(1667)
    assert len(set(Job.objects.values_list("submitted_at", flat=True))) > 1


# --- shapes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [shape("steady"), shape("burst"), shape("weekly", batch_mean=4), REPLAY])
def test_every_shape_makes_the_same_jobs_however_ticks_fall(control, use, text):
    use(text)
    Control.objects.update(rate_per_minute=600)
    start = database_now()
    generator.tick(start)
    at_start = Control.objects.values().get()
    tick_for(12, start=start)
    fine = list(Job.objects.order_by("id").values_list("type", "priority", "params"))
    Job.objects.all().delete()
    Control.objects.update(**at_start)

    tick_for(12, start=start, step=3.0)

    assert len(fine) > 1
    # A trace's first row is there at once.
    assert list(Job.objects.order_by("id").values_list("type", "priority", "params")) == fine[text == REPLAY :]


@pytest.mark.parametrize("text", [shape("steady"), shape("burst"), shape("daily"), REPLAY])
def test_the_same_tick_of_two_beats_makes_nothing_twice(control, use, text):
    use(text)
    change_control(actor="a test", rate_per_minute=600)
    start = database_now()
    generator.tick(start)
    made = generator.tick(start + timedelta(seconds=14))

    assert made
    assert generator.tick(start + timedelta(seconds=14)) == []


def test_a_trace_goes_on_after_a_restart_and_tells_its_end_once(control, use):
    use(REPLAY)
    start = database_now()
    generator.tick(start)
    tick_for(2, start=start)
    use(REPLAY)

    tick_for(12, start=start + timedelta(seconds=2))

    jobs = list(Job.objects.order_by("id").values_list("type", "params__seconds", "params__requested_gpus"))
    assert jobs == [("sleep", 10, 1), ("sleep", 20, 8), ("sleep", 1, 1)]
    assert ClusterEvent.objects.filter(kind="generator", message__startswith="The trace has ended").count() == 1


def test_a_paused_trace_goes_on_where_it_stood(control, use):
    use(REPLAY)
    start = database_now()
    generator.tick(start)
    generator.tick(start + timedelta(seconds=4))
    change_control(actor="a test", paused=True)
    generator.tick(start + timedelta(seconds=4))
    wait = Control.objects.get().trace_wait
    change_control(actor="a test", paused=False)
    later = start + timedelta(hours=1)

    before = [len(generator.tick(later + timedelta(seconds=second))) for second in (0, 5, 5.9)]

    assert wait == timedelta(seconds=6)
    assert before == [0, 0, 0]
    assert len(generator.tick(later + timedelta(seconds=6))) == 1


def test_another_trace_begins_at_its_beginning(control, use):
    use(REPLAY)
    start = database_now()
    generator.tick(start)
    generator.tick(start + timedelta(seconds=1))

    use(REPLAY + "repeat = true\n")

    assert len(generator.tick(start + timedelta(seconds=2))) == 1
    assert Control.objects.get().trace_row == 1
    assert list(Job.objects.values_list("params__seconds", flat=True).order_by("id")) == [10, 20, 10]


def test_long_jobs_get_a_longer_limit_than_the_usual_one(control, use):
    use(shape("steady") + '[jobs]\nlongest_seconds = 40000\n[[jobs.rows]]\ntype = "sleep"\nparams.seconds = 20000\n')
    change_control(actor="a test", rate_per_minute=60)

    tick_for(3)

    assert set(Job.objects.values_list("time_limit_seconds", flat=True)) == {30_060}


def test_a_tick_that_fails_loses_nothing(control, monkeypatch):
    change_control(actor="a test", rate_per_minute=6_000)
    start = database_now()
    generator.tick(start)
    position = Control.objects.values("arrivals", "next_arrival_at").get()
    submit = generator.submit

    def fail(*args, **options):
        submit(*args, **options)
        raise OperationalError("the database went away")

    monkeypatch.setattr(generator, "submit", fail)
    with pytest.raises(OperationalError):
        generator.tick(start + timedelta(seconds=1))
    monkeypatch.undo()

    assert Job.objects.count() == 0
    assert Control.objects.values("arrivals", "next_arrival_at").get() == position
    made = len(generator.tick(start + timedelta(seconds=1)))
    assert made == Job.objects.count() == Control.objects.get().arrivals - 1


# --- 100,000 a minute -----------------------------------------------------------------------------


def test_at_100_000_a_minute_nothing_is_lost_and_memory_stays_flat(control, use):
    """Six seconds of it: the whole minute takes ten times as long and shows no more."""
    use(shape("steady"))
    change_control(actor="a test", rate_per_minute=100_000)
    start = database_now()
    generator.tick(start)

    made, peaks = 0, []
    for second in range(1, 7):
        tracemalloc.start()
        made += len(generator.tick(start + timedelta(seconds=second)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    ids = Job.objects.values_list("id", flat=True)

    print(f"{made} jobs in six seconds; a tick took {peaks[1] / 2**20:.2f} MiB, then {peaks[-1] / 2**20:.2f}")
    assert made == len(set(ids)) == 10_000
    assert max(ids) - min(ids) + 1 == made
    assert Tally.objects.total("submitted") == made
    assert peaks[-1] < 1.2 * peaks[1] < 32 * 2**20
