"""A trace, read and played back."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scheduler.arrivals.replay import Replay, Trace
from scheduler.arrivals.shape import Arrival, Position
from scheduler.arrivals.trace_file import TRACE_FORMATS, TraceInvalid, read_trace, trace_format
from tests.project import ROOT

START = datetime(2026, 3, 1, tzinfo=UTC)
PLAIN = "submitted,duration,gpus\n100,60,1\n160,3600,8\n130,5,1\n"

#: Where the project's real traces lie, if they are there.
REAL_TRACES = Path(os.environ.get("TRACES_DIR", ROOT.parent / "shared" / "traces"))


@pytest.fixture
def read(tmp_path: Path):
    """Reads this text as a trace."""

    def _read(text: str, form: str = "plain", **columns: str) -> Trace:
        path = tmp_path / "trace.csv"
        path.write_text(text)
        return read_trace(path, trace_format(form, columns))

    return _read


def play(replay: Replay, seconds: list[float], position: Position | None = None) -> tuple[list[Arrival], Position]:
    """The arrivals that ticks at these seconds after START find."""
    position, found = position or Position(), []
    for second in seconds:
        due = replay.due(START + timedelta(seconds=second), position, seed=5, rate_per_minute=1.0)
        found += due.arrivals
        position = due.position
    return found, position


def times(arrivals: list[Arrival]) -> list[float]:
    return [(arrival.at - START).total_seconds() for arrival in arrivals]


def test_rows_are_sorted_by_submission_and_counted_from_the_first(read) -> None:
    trace = read(PLAIN)

    assert list(trace.offsets_us) == [0, 30_000_000, 60_000_000]
    assert (list(trace.seconds), list(trace.gpus), trace.loads) == ([60, 5, 3600], [1, 1, 8], None)


def test_rows_arrive_as_recorded_faster_by_the_factor(read) -> None:
    replay = Replay(trace=read(PLAIN), time_compression=4.0)

    found, position = play(replay, [0, 5, 10, 15, 20])

    assert times(found) == [0, 7.5, 15]
    assert [arrival.row for arrival in found] == [0, 1, 2]
    assert (position.row, position.next_at) == (3, None)


def test_the_end_is_reported_once_and_nothing_comes_after_it(read) -> None:
    replay, position, ends = Replay(trace=read(PLAIN), time_compression=60.0), Position(), []
    for second in range(5):
        due = replay.due(START + timedelta(seconds=second), position, seed=5, rate_per_minute=1.0)
        position = due.position
        ends.append(due.ended)

    assert ends == [False, True, False, False, False]


def test_a_repeated_trace_begins_again_a_mean_gap_after_its_end(read) -> None:
    replay = Replay(trace=read(PLAIN), time_compression=10.0, repeat=True)

    found, _ = play(replay, [float(second) for second in range(19)])

    assert times(found) == [0, 3, 6, 9, 12, 15, 18]
    assert [arrival.row for arrival in found] == [0, 1, 2, 0, 1, 2, 0]
    assert [arrival.number for arrival in found] == list(range(7))


def test_a_pause_stops_the_time_of_the_trace(read) -> None:
    replay = Replay(trace=read(PLAIN), time_compression=1.0)
    _, position = play(replay, [0, 10, 20])

    position = replay.paused(START + timedelta(seconds=20), position)
    position = replay.paused(START + timedelta(hours=1), position)
    found, _ = play(replay, [7_200, 7_209, 7_210, 7_211], position)

    assert times(found) == [7_210]


def test_after_a_stall_the_trace_goes_on_where_it_stood(read) -> None:
    replay = Replay(trace=read(PLAIN), time_compression=1.0)
    _, position = play(replay, [0])

    found, _ = play(replay, [1_000, 1_010, 1_020], position)

    assert times(found) == [985, 1_015]


def test_a_clock_that_was_set_back_does_not_stop_the_trace(read) -> None:
    replay = Replay(trace=read(PLAIN), time_compression=1.0)
    _, position = play(replay, [86_400])

    found, _ = play(replay, [0, 10, 20, 30], position)

    assert times(found) == [30]


def test_the_rate_has_no_say(read) -> None:
    replay = Replay(trace=read(PLAIN), time_compression=1.0)
    first = replay.due(START, Position(), seed=5, rate_per_minute=1.0)

    due = replay.due(START + timedelta(seconds=5), first.position, seed=5, rate_per_minute=100_000.0)

    assert (due.arrivals, due.position) == ((), first.position)


def test_dates_are_read_and_numbers_are_never_dates(read) -> None:
    dated = read("submitted,duration,gpus\n2017-10-09 07:01:55,1,1\n2017-10-09T07:02:00+00:00,1,1\n")
    numbered = read("submitted,duration,gpus\n20171009,1,1\n20171010,1,1\n")

    assert list(dated.offsets_us) == [0, 5_000_000]
    assert list(numbered.offsets_us) == [0, 1_000_000]


def test_columns_may_have_other_names(read) -> None:
    trace = read("when,took,cards\n0,7,2\n", submitted="when", duration="took", gpus="cards")

    assert (list(trace.seconds), list(trace.gpus)) == ([7], [2])


def test_a_shared_gpu_gives_its_share_as_load(read) -> None:
    header = "name,num_gpu,gpu_milli,creation_time,scheduled_time,deletion_time\n"
    trace = read(header + "a,1,460,0,5,25\nb,2,1000,10,10,11\n", "openb")

    assert list(trace.seconds) == [20, 1]
    assert trace.loads is not None
    assert list(trace.loads) == [0.46, 1.0]


def test_rows_without_a_gpu_a_start_or_an_end_are_left_out(read) -> None:
    header = "name,num_gpu,gpu_milli,creation_time,scheduled_time,deletion_time\n"

    assert len(read(header + "a,0,0,0,5,25\nb,1,1000,0,,9\nc,1,1000,0,1,\nd,1,1000,0,1,9\n", "openb")) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "submitted,seconds,gpus\n1,1,1\n",
            "for 'duration'; its columns are: submitted, seconds, gpus",
        ),
        ("", "no column 'submitted' for 'submitted'; its columns are: none"),
        ("submitted,duration,gpus\n", "contains no job"),
        ("submitted,duration,gpus\n1,1,1\nsoon,1,1\n", "line 3: submitted: 'soon' is neither seconds nor a date"),
        ("submitted,duration,gpus\n1,long,1\n", "line 2: duration: 'long' is not a number"),
        ("submitted,duration,gpus\n1,-1,1\n", "line 2: duration: '-1' must be a finite number, 0 or more"),
        ("submitted,duration,gpus\n1,nan,1\n", "line 2: duration: 'nan' must be a finite number, 0 or more"),
        ("submitted,duration,gpus\n1,1,one\n", "line 2: gpus: 'one' is not a number"),
    ],
)
def test_an_error_names_its_line(read, text: str, told: str) -> None:
    with pytest.raises(TraceInvalid) as caught:
        read(text)

    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("file", "form", "jobs", "median_seconds"),
    [
        ("philly_jobs_pollux.csv", "philly", 82_247, 1_100),
        ("openb_pod_list_default.csv", "openb", 6_200, 616),
        ("tiresias_60_job.csv", "tiresias", 60, 125),
    ],
)
def test_a_real_trace_is_read(file: str, form: str, jobs: int, median_seconds: float) -> None:
    if not (REAL_TRACES / file).exists():
        pytest.skip(f"the trace {file} is not on this machine")

    trace = read_trace(REAL_TRACES / file, TRACE_FORMATS[form])

    assert len(trace) == pytest.approx(jobs, rel=0.05)
    assert sorted(trace.seconds)[len(trace) // 2] == pytest.approx(median_seconds, rel=0.25)
    assert min(trace.gpus) == 1
