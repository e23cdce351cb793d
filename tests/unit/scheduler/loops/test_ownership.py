"""Whose marks are in the broker and in the database."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from scheduler.loops.ownership import MARK_SECONDS, Mark, MarkWatch, Owner, mark_key, parse_mark


def mark(writer: str, number: int = 1) -> Mark:
    return Mark(place=5, host="host-1", space=1, pid=7, writer=writer, number=number)


def looks(*seen: tuple[Mark | None, Mark | None], every: float = 2.0) -> list[Owner]:
    watch = MarkWatch("own")
    return [watch.look(broker, database, number * every) for number, (broker, database) in enumerate(seen)]


def test_nothing_there_is_free() -> None:
    assert looks((None, None)) == [Owner.OURS]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_same_writer_in_both_is_another_scheduler_of_this_cluster(number: int) -> None:
    assert looks((mark("other"), mark("other", number))) == [Owner.OURS]


@pytest.mark.parametrize("seen", [(mark("own"), None), (None, mark("own")), (mark("own", 1), mark("own", 9))])
def test_own_marks_are_ours(seen: tuple[Mark | None, Mark | None]) -> None:
    assert looks(seen) == [Owner.OURS]


@pytest.mark.parametrize("database", [None, mark("own"), mark("copied", 1)])
def test_a_strange_mark_that_changes_in_the_broker_is_another_clusters(database: Mark | None) -> None:
    seen = [(mark("copied", number), database) for number in (7, 8, 9)]

    assert looks(*seen) == [Owner.UNDECIDED, Owner.BROKER_TAKEN, Owner.BROKER_TAKEN]


def test_a_strange_mark_that_changes_in_the_database_is_another_clusters() -> None:
    assert looks((None, mark("other", 1)), (None, mark("other", 2))) == [Owner.UNDECIDED, Owner.DATABASE_TAKEN]


def test_the_same_writer_in_another_database_is_another_clusters() -> None:
    assert looks((mark("original"), replace(mark("original"), place=6))) == [Owner.UNDECIDED]


def test_a_copied_databases_mark_is_not_the_brokers() -> None:
    """The original goes on counting; the copy does not."""
    assert looks((mark("original", 5), mark("original", 2)), (mark("original", 6), None))[-1] == Owner.BROKER_TAKEN


def test_what_a_dead_cluster_left_is_waited_for_and_taken_over() -> None:
    assert looks((mark("dead"), None), (mark("dead"), None), (None, None)) == [
        Owner.UNDECIDED,
        Owner.UNDECIDED,
        Owner.OURS,
    ]


def test_a_mark_that_does_not_expire_because_a_clock_was_set_back_is_taken_over() -> None:
    dead = (mark("dead"), mark("other"))

    assert looks(dead, dead, dead, every=MARK_SECONDS / 2 + 0.1) == [Owner.UNDECIDED, Owner.UNDECIDED, Owner.OURS]


def test_a_mark_that_is_replaced_between_two_reads_is_no_conflict() -> None:
    seen = [(mark("old", 5), mark("new", 1)), (mark("new", 1), mark("new", 2))]

    assert looks(*seen) == [Owner.UNDECIDED, Owner.OURS]


def test_it_is_ours_again_when_the_other_cluster_has_ended() -> None:
    assert looks((mark("other", 1), None), (mark("other", 2), None), (None, None))[-1] == Owner.OURS


def test_a_mark_is_read_as_it_was_written() -> None:
    assert parse_mark(mark("own", 12).text()) == mark("own", 12)


@pytest.mark.parametrize("text", [None, "", "looks", "a/b/c/d/e/f", "1/host/1/2/w", "1/host/1/2/w/3/4"])
def test_what_is_no_mark_is_none(text: str | None) -> None:
    assert parse_mark(text) is None


def test_a_process_of_another_machine_or_container_is_never_known_to_be_dead() -> None:
    dead = 2**22 + os.getpid()

    assert not Mark(place=5, host="elsewhere", space=0, pid=dead, writer="w", number=1).is_of_a_dead_process()


def test_the_key_has_the_prefix() -> None:
    assert mark_key() == "gpucluster:cluster"
