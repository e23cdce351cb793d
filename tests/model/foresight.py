"""What the loops owe: whom the reaper must, may and must not call dead, and what the relay must send.

From what each of them could read, with literals of its own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

from tests.model.broker import Message
from tests.model.clock import Clock
from tests.model.ledger import JobShould, Key, Ledger, promise

#: Known dead after so much silence, while the reaper's reads are never further apart than the next figure.
SILENCE_SECONDS: Final = 9.0
FRESH_SECONDS: Final = 3.0
#: Beats in a row that do not list a job, after which its child is dead.
BEATS_WITHOUT: Final = 2

GRACE_SECONDS: Final = 0.5
LOST_AFTER_SECONDS: Final = 5.0
AGEING_SECONDS: Final = 60.0

type Beat = dict[str, Any]
type Run = tuple[int, int, int, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one scan saw: beats by GPU, and (job, attempt, GPU, boot) of what ran."""

    at: float
    beats: dict[int, Beat]
    running: frozenset[Run]


@dataclass(slots=True)
class ReaperForesight:
    """The scans of one reaper since it started."""

    _readings: list[Reading] = field(default_factory=list)

    def read(self, reading: Reading) -> None:
        self._readings.append(reading)

    def check(self, run: Run, taken: str | None) -> None:
        """taken: the reason for which the newest scan gave the job back; None: it did not."""
        job, attempt, gpu, boot = run
        silence, surely = self._silence(run)
        without, same_boot = self._beats_without(run)
        who = f"job {job} attempt {attempt} on GPU {gpu} (boot {boot})"
        words = f"{who}: silent for {silence:.3f} s of fresh reads, {without} beats without it; taken as {taken}"
        if taken == "worker_died":
            promise("no false death of a worker", silence >= SILENCE_SECONDS, words)
        if taken in {"child_died", "worker_restarted"}:
            promise("no false death of a child", without >= BEATS_WITHOUT, words)
            beat = self._readings[-1].beats.get(gpu, {})
            right = (taken == "child_died") == (beat.get("boot") == boot)
            promise("the reason is right", right, words)
        if taken is None:
            promise("a silent worker is known dead", surely < SILENCE_SECONDS, words)
            promise("a dead child is known", not (same_boot and without >= BEATS_WITHOUT), words)

    def _silence(self, run: Run) -> tuple[float, float]:
        """Seconds for which the GPU's beat has not changed, as far back as the reads are fresh: at most, and at least
        (where no beat was ever seen, the term begins with the job)."""
        now = self._readings[-1].at
        begin, last = now, now
        for reading in reversed(self._readings):
            if last - reading.at >= FRESH_SECONDS:
                break
            begin = last = reading.at
        news, beat = float("-inf"), None
        for reading in self._readings:
            current = _identity(reading.beats.get(run[2]))
            if current is not None and current != beat:
                news, beat = reading.at, current
        first = next(reading.at for reading in self._readings if run in reading.running)
        return now - max(begin, news), now - max(begin, news, first)

    def _beats_without(self, run: Run) -> tuple[int, bool]:
        """How many different beats in a row do not list the job, after the first one that was read while it ran;
        and whether all that were read are of the job's own boot."""
        job, attempt, gpu, boot = run
        read = [reading.beats[gpu] for reading in self._readings if run in reading.running and gpu in reading.beats]
        without = 0
        for earlier, beat in pairwise(read):
            if beat["boot"] == boot and [job, attempt] in beat["held"]:
                without = 0
            elif _identity(beat) != _identity(earlier):
                without += 1
        return without, all(beat["boot"] == boot for beat in read)


def _identity(beat: Beat | None) -> tuple[str, int] | None:
    return None if beat is None else (beat["boot"], beat["seq"])


@dataclass(slots=True)
class RelayForesight:
    """The sendings of one relay since it started."""

    _sent: dict[tuple[str, Key], float] = field(default_factory=dict)

    def check(self, ledger: Ledger, clock: Clock, lay: list[Message], lie: list[Message]) -> None:
        """What lay in the queues before the tick, and what lies there now, in the order of taking."""
        before, after = Counter(map(_place, lay)), Counter(map(_place, lie))
        sent = after - before
        waiting = {job.key for job in ledger.jobs.values() if job.state == "queued"}
        removed = {key for _, key in before - after}
        promise("the relay removes stale hints alone", not removed & waiting, f"{removed & waiting} are gone")
        stale = {key for _, key in after} - waiting
        promise("no stale hint keeps its place", not stale, f"{stale} remain")
        promise("a hint is sent once", all(n == 1 for n in sent.values()), f"{sent}")
        owed = {(job.queue, job.key) for job in ledger.due(clock.now) if self._is_owed(job, clock, before)}
        promise("every due job without a hint gets one", owed <= set(sent), f"not sent: {owed - set(sent)}")
        for queue, key in set(sent) - owed:
            job = ledger.jobs.get(key[0])
            is_due = job is not None and job.key == key and job in ledger.due(clock.now)
            promise("the relay sends nothing else", is_due and _has_aged(job, queue, clock.now), f"{key} to {queue}")
        for queue in {queue for queue, _ in owed}:
            again = sorted(key for where, key in owed if where == queue and key[1] > 1)
            first = [message.key for message in lie if message.queue == queue][: len(again)]
            promise("what ran before is taken next", first == again, f"{first} instead of {again} in {queue}")
        self._sent.update(dict.fromkeys(sent, clock.seconds))

    def _is_owed(self, job: JobShould, clock: Clock, lying: Counter[tuple[str, Key]]) -> bool:
        where = (job.queue, job.key)
        young = job.attempt == 1 and (clock.now - job.queued_at).total_seconds() < GRACE_SECONDS
        recent = clock.seconds - self._sent.get(where, float("-inf")) < LOST_AFTER_SECONDS
        return not (young or recent or lying[where])


def _place(message: Message) -> tuple[str, Key]:
    return message.queue, message.key


def _has_aged(job: JobShould | None, queue: str, now: datetime) -> bool:
    """It waited so long that it may rise: to a higher priority, in the tier where it fits."""
    if job is None or queue == job.queue:
        return False
    same_tier = queue.partition(".")[2] == job.queue.partition(".")[2]
    return same_tier and (now - job.queued_at).total_seconds() >= AGEING_SECONDS
