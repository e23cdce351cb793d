"""The marks in a real broker and a real database."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db.models import F
from redis import Redis

from scheduler.loops.ownership import (
    LEASE_NAME,
    MARK_SECONDS,
    RENEWAL_SECONDS,
    Mark,
    Ownership,
    database_place,
    mark_key,
    read_marks,
    require_ownership,
)
from scheduler.loops.process import LeasedLoop
from scheduler.models import ClusterEvent, Lease
from scheduler.rules.configuration import EnvironmentInvalid

pytestmark = pytest.mark.django_db(transaction=True)


def a_mark(writer: str, number: int) -> Mark:
    return Mark(place=database_place(), host="elsewhere", space=1, pid=1, writer=writer, number=number)


class Other:
    """Another living cluster: it changes its mark whenever somebody looks."""

    def __init__(self, client: Redis, *, broker: bool = False, database: bool = False) -> None:
        self._client, self._broker, self._database, self.number = client, broker, database, 0

    def get(self, key: str) -> bytes | None:
        self.number += 1
        text = Mark(
            place=database_place(), host="elsewhere", space=1, pid=1, writer="other", number=self.number * 5
        ).text()
        if self._broker:
            self._client.set(mark_key(), text, ex=MARK_SECONDS)
        if self._database:
            Lease.objects.filter(name=LEASE_NAME).update(holder=text)
        return self._client.get(key)

    def set(self, *args: object, **options: object) -> object:
        return self._client.set(*args, **options)


def test_a_renewed_mark_is_in_both(redis: Redis) -> None:
    assert Ownership(redis, renews=True).is_ours(0.0)

    broker, database = read_marks(redis, database_place())
    assert broker == database is not None
    assert 0 < redis.ttl(mark_key()) <= MARK_SECONDS


def test_a_process_that_starts_beside_its_own_scheduler_goes_on(redis: Redis) -> None:
    Ownership(redis, renews=True).is_ours(0.0)

    require_ownership(redis)


def test_an_emptied_broker_gets_its_mark_again(redis: Redis) -> None:
    ownership = Ownership(redis, renews=True)
    ownership.is_ours(0.0)
    redis.delete(mark_key())

    assert ownership.is_ours(RENEWAL_SECONDS)
    assert redis.exists(mark_key())


def test_a_start_on_another_living_clusters_broker_is_refused(redis: Redis) -> None:
    with pytest.raises(EnvironmentInvalid, match=r"REDIS_URL: another living cluster .*REDIS_PREFIX"):
        require_ownership(Other(redis, broker=True))


def test_a_start_on_another_living_clusters_database_is_refused(redis: Redis) -> None:
    Ownership(redis, renews=True).is_ours(0.0)
    redis.delete(mark_key())

    with pytest.raises(EnvironmentInvalid, match="DATABASE_URL: another living cluster"):
        require_ownership(Other(redis, database=True))


def test_a_copied_databases_mark_counts_for_nothing(redis: Redis) -> None:
    ownership = Ownership(redis, renews=True)
    ownership.is_ours(0.0)

    assert read_marks(redis, database_place() + 1)[1] is None


def test_what_a_dead_cluster_left_is_taken_over_when_it_expires(redis: Redis) -> None:
    Ownership(redis, renews=True).is_ours(0.0)
    redis.set(mark_key(), a_mark("dead", 3).text(), px=1500)
    Lease.objects.update(expires_at=F("expires_at") - timedelta(seconds=MARK_SECONDS))
    began = time.monotonic()

    require_ownership(redis)

    assert time.monotonic() - began >= 1
    assert Ownership(redis, renews=True).is_ours(0.0)


def test_a_loop_does_not_act_while_another_cluster_is_at_work(redis: Redis) -> None:
    acts: list[float] = []
    loop = LeasedLoop("relay", lambda now: acts.append(now) or 0, Ownership(redis, renews=True))
    assert loop.tick(0.0)
    loop._ownership.client = Other(redis, broker=True)

    for now in (3.0, 6.0, 9.0, 12.0):
        assert not loop.tick(now)

    assert acts == [0.0]
    events = ClusterEvent.objects.filter(kind="ownership")
    assert [event.message[:22] for event in events] == ["Nothing is scheduled: "]
