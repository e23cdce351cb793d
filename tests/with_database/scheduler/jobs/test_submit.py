"""The one call that submits jobs: what it refuses before the first transaction, and what stays if it ends midway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, transaction
from redis import Redis

from scheduler.broker import hints
from scheduler.broker.hints import SubmittedJob
from scheduler.jobs import submit as intake
from scheduler.jobs.admission import job_requests
from scheduler.jobs.room import Lack, NoRoom
from scheduler.jobs.submit import ROWS_PER_TRANSACTION, JobRequest, NameTaken
from scheduler.models import Control, Job, Tally
from scheduler.rules.naming import job_name
from scheduler.rules.states import Priority, Source
from tests.build import queued

pytestmark = pytest.mark.usefixtures("control", "gpus")


def requests(*names: str | None) -> list[JobRequest]:
    fields: dict[str, Any] = {"type": "sleep", "params": {"seconds": 0}, "source": Source.API}
    return [job_requests(name=name, **fields)[0] for name in names]


def submit(wanted: list[JobRequest], **options: Any) -> list[SubmittedJob]:
    return intake.submit(wanted, **{"client": None, "broker_share": None, **options})


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The ids of each call that sent hints."""
    calls: list[list[int]] = []
    monkeypatch.setattr(hints, "send_soon", lambda jobs, _: calls.append([job.id for job in jobs]))
    return calls


@pytest.fixture
def before_chunk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], Any]], None]:
    """Lets something happen just before the n-th transaction."""

    def arrange(number: int, act: Callable[[], Any]) -> None:
        chunk_really, calls = intake._submit_chunk, []

        def chunk(*args: Any, **options: Any) -> Any:
            calls.append(args)
            if len(calls) == number:
                act()
            return chunk_really(*args, **options)

        monkeypatch.setattr(intake, "_submit_chunk", chunk)

    return arrange


def test_jobs_get_names_made_with_the_clusters_seed() -> None:
    [job] = submit(requests(None))

    seed = Control.objects.get().seed
    assert Job.objects.get().name == job_name(job.id, "sleep", Priority.NORMAL, seed)


@pytest.mark.usefixtures("sent")
def test_no_requests_are_no_jobs_even_without_room(settings: Any) -> None:
    settings.QUEUED_MAX = 0

    assert submit([]) == []


# --- room -----------------------------------------------------------------------------------------


def test_room_is_checked_for_all_of_them_before_the_first_transaction(settings: Any) -> None:
    settings.QUEUED_MAX = ROWS_PER_TRANSACTION + 1

    with pytest.raises(NoRoom):
        submit(requests(None) * (ROWS_PER_TRANSACTION + 2))

    assert Job.objects.count() == Tally.objects.total("submitted") == 0


def test_a_caller_may_check_room_for_one_of_many(settings: Any) -> None:
    settings.QUEUED_MAX = 1

    assert len(submit(requests(None, None), room_for=1)) == 2


def test_a_broker_that_is_nearly_full_refuses() -> None:
    with pytest.raises(NoRoom) as refused:
        submit(requests(None), broker_share=0.95)

    assert refused.value.shortage.lack is Lack.BROKER


# --- names ----------------------------------------------------------------------------------------


def test_a_name_that_is_taken_is_refused_with_the_index_of_its_job() -> None:
    queued(name="mine")

    with pytest.raises(NameTaken, match=r"^name: 'mine' is taken; names are unique") as refused:
        submit(requests(None, "other", "mine"))

    assert (refused.value.index, Job.objects.count()) == (2, 1)


def test_a_name_given_to_two_jobs_is_refused_with_the_index_of_the_second() -> None:
    with pytest.raises(NameTaken, match="'twin' is given to two jobs") as refused:
        submit(requests("twin", None, "twin"))

    assert (refused.value.index, Job.objects.count()) == (2, 0)


def test_a_taken_name_of_the_last_transaction_is_found_before_the_first() -> None:
    queued(name="late")

    with pytest.raises(NameTaken) as refused:
        submit([*requests(None) * ROWS_PER_TRANSACTION, *requests("late")])

    assert (refused.value.index, Job.objects.count()) == (ROWS_PER_TRANSACTION, 1)


def test_a_name_taken_meanwhile_is_refused_and_the_jobs_before_it_stay(
    before_chunk: Callable[[int, Callable[[], Any]], None], sent: list[list[int]], redis: Redis
) -> None:
    wanted = [*requests(None) * ROWS_PER_TRANSACTION, *requests(None, "mine")]
    accepted: list[SubmittedJob] = []

    before_chunk(2, lambda: queued(name="mine"))
    with pytest.raises(NameTaken, match="'mine' is taken") as refused:
        submit(wanted, client=redis, accepted=accepted)

    ids = [job.id for job in accepted]
    assert refused.value.index == ROWS_PER_TRANSACTION + 1
    assert ids == list(Job.objects.exclude(name="mine").order_by("id").values_list("id", flat=True))
    assert len(ids) == ROWS_PER_TRANSACTION
    assert sent == [ids]


# --- an end on the way ----------------------------------------------------------------------------


def test_jobs_of_earlier_transactions_are_reported_and_get_their_hints(
    before_chunk: Callable[[int, Callable[[], Any]], None], sent: list[list[int]], redis: Redis
) -> None:
    def fail() -> None:
        raise OperationalError("database is locked")

    accepted: list[SubmittedJob] = []
    before_chunk(3, fail)

    with pytest.raises(OperationalError):
        submit(requests(None) * 3 * ROWS_PER_TRANSACTION, client=redis, accepted=accepted)

    ids = list(Job.objects.order_by("id").values_list("id", flat=True))
    assert len(ids) == 2 * ROWS_PER_TRANSACTION
    assert [job.id for job in accepted] == ids
    assert sent == [ids]


# --- the caller's transaction ---------------------------------------------------------------------


def test_hints_wait_for_the_callers_commit(sent: list[list[int]], redis: Redis) -> None:
    with transaction.atomic():
        [job] = submit(requests(None), client=redis)
        assert sent == []

    assert sent == [[job.id]]


def test_a_transaction_that_is_undone_sends_no_hints(sent: list[list[int]], redis: Redis) -> None:
    with transaction.atomic():
        submit(requests(None), client=redis)
        transaction.set_rollback(True)

    assert (sent, Job.objects.count()) == ([], 0)


# --- the caller's note ----------------------------------------------------------------------------


class Noted:
    def __init__(self, *, refuse: int = -1) -> None:
        self.calls: list[tuple[str, int, bool]] = []
        self._refuse = refuse

    def note(self, ids: list[int], *, last: bool) -> None:
        self.calls.append(("note", len(ids), last))
        if len(self.calls) == self._refuse:
            raise OperationalError("another request took over")

    def noted(self, ids: list[int], *, last: bool) -> None:
        self.calls.append(("noted", len(ids), last))


def test_each_transaction_is_noted_inside_and_after_its_commit() -> None:
    note = Noted()

    submit(requests(None) * (ROWS_PER_TRANSACTION + 3), note=note)

    full = ROWS_PER_TRANSACTION
    assert note.calls == [("note", full, False), ("noted", full, False), ("note", 3, True), ("noted", 3, True)]


def test_a_note_that_fails_undoes_its_jobs() -> None:
    note = Noted(refuse=3)

    with pytest.raises(OperationalError):
        submit(requests(None) * (ROWS_PER_TRANSACTION + 3), note=note)

    assert Job.objects.count() == ROWS_PER_TRANSACTION
