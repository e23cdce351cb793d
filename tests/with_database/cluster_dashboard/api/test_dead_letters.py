"""Dead letters: kept with what was wrong, read and dropped by API and command, each drop with an audit event."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError
from django.test import Client
from redis import Redis

from cluster_dashboard.api import broker
from cluster_dashboard.tokens import create_token
from scheduler.broker import dead_letters
from scheduler.models import ClusterEvent
from tests.with_database.cli import run

pytestmark = pytest.mark.usefixtures("gpus", "control")

TOKEN = {"authorization": "Bearer token-of-the-tests-0123456789"}
EVIL = b"<script>alert(1)</script>\x1b[2J\xff"


@pytest.fixture(autouse=True)
def broker_of_the_api(redis: Redis, valkey_server: Any, settings: Any) -> Iterator[None]:
    settings.REDIS_URL = valkey_server.url
    broker.client.cache_clear()
    yield
    broker.client.cache_clear()


@pytest.fixture
def bury(redis: Redis) -> Callable[..., str]:
    def bury(item: bytes = b"not ours", reason: str = "the message: not JSON") -> str:
        dead_letters.bury(redis, item, "high", reason)
        return dead_letters.read(redis, limit=1)[0].id

    return bury


def get(query: str = "") -> Any:
    answer = Client().get(f"/api/dead-letters{query}")
    assert answer.status_code == 200, answer.content
    return answer.json()


# --- the API --------------------------------------------------------------------------------------


def test_a_letter_tells_when_where_what_and_why(bury: Callable[..., str]) -> None:
    letter_id = bury(EVIL)

    (letter,) = get()["dead_letters"]

    assert (letter["id"], letter["queue"], letter["reason"]) == (letter_id, "high", "the message: not JSON")
    assert letter["content"] == "<script>alert(1)</script>\x1b[2J\\xff"
    assert (letter["size"], letter["is_whole"]) == (len(EVIL), True)
    assert letter["at"].startswith("20")


def test_a_long_letter_is_cut_and_says_so(bury: Callable[..., str]) -> None:
    bury(b"x" * 5000)

    (letter,) = get()["dead_letters"]

    assert (letter["size"], len(letter["content"]), letter["is_whole"]) == (5000, 4096, False)


def test_pages_newest_first(bury: Callable[..., str]) -> None:
    ids = [bury(f"letter {i}".encode()) for i in range(5)]

    first = get("?limit=2")
    second = get(f"?limit=2&offset={first['next_offset']}")
    last = get(f"?limit=2&offset={second['next_offset']}")

    pages = [[letter["id"] for letter in page["dead_letters"]] for page in (first, second, last)]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    assert (first["kept"], first["total"], last["next_offset"]) == (5, 5, None)


@pytest.mark.parametrize("query", ["?limit=0", "?limit=501", "?offset=-1", "?limit=x"])
def test_a_page_that_is_none_is_refused(query: str) -> None:
    assert Client().get(f"/api/dead-letters{query}").status_code == 422


def test_one_is_dropped_and_the_audit_says_by_whom(redis: Redis, bury: Callable[..., str]) -> None:
    kept, gone = bury(b"one"), bury(b"two")

    answer = Client().delete(f"/api/dead-letters/{gone}", headers=TOKEN)

    assert (answer.status_code, answer.json()) == (200, {"dropped": 1})
    assert [letter.id for letter in dead_letters.read(redis)] == [kept]
    event = ClusterEvent.objects.get(kind="dead_letter")
    assert (event.actor, event.before["id"], event.before["queue"]) == ("token", gone, "high")
    assert dead_letters.count(redis) == dead_letters.Counts(kept=1, total=2)


def test_all_are_dropped_with_one_audit_event(redis: Redis, bury: Callable[..., str]) -> None:
    bury(b"one"), bury(b"two")

    first = Client().delete("/api/dead-letters", headers=TOKEN)
    again = Client().delete("/api/dead-letters", headers=TOKEN)

    assert [answer.json() for answer in (first, again)] == [{"dropped": 2}, {"dropped": 0}]
    assert ClusterEvent.objects.filter(kind="dead_letter").count() == 1
    assert dead_letters.count(redis).kept == 0


def test_a_rehearsal_takes_back_the_letters_that_it_sent_and_no_others(redis: Redis, bury: Callable[..., str]) -> None:
    long = b"x" * 200_000
    before = bury(b"{}")
    bury(b"{}"), bury(long)
    others = [bury(long + b"y"), bury(b"{}")]
    dead_letters.bury(redis, b"null", "low", "the message: not ours")

    dropped = dead_letters.drop_sent(
        redis, [("high", b"{}"), ("high", long), ("normal", b"null")], newest=5, actor="chaos"
    )

    left = dead_letters.read(redis)
    assert dropped == 2
    # One of the two that read the same is left, whoever sent it.
    assert [(letter.queue, letter.size) for letter in left] == [
        ("low", 4),
        ("high", len(long) + 1),
        ("high", 2),
        ("high", 2),
    ]
    assert {before, others[0]} < {letter.id for letter in left}
    (audit,) = ClusterEvent.objects.filter(kind="dead_letter")
    assert (audit.actor, audit.before) == ("chaos", {"dropped": 2})


def test_a_rehearsal_that_left_no_letters_tells_of_none(redis: Redis, bury: Callable[..., str]) -> None:
    bury(b"{}")

    assert dead_letters.drop_sent(redis, [("high", b"{}")], newest=0, actor="chaos") == 0
    assert dead_letters.drop_sent(redis, [("high", b"[]")], newest=1, actor="chaos") == 0
    assert not ClusterEvent.objects.filter(kind="dead_letter").exists()


def test_one_that_is_not_there_is_404_and_leaves_no_audit(bury: Callable[..., str]) -> None:
    bury()

    assert Client().delete("/api/dead-letters/000000000000", headers=TOKEN).status_code == 404
    assert not ClusterEvent.objects.filter(kind="dead_letter").exists()


def test_without_an_audit_nothing_is_dropped(
    redis: Redis, bury: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    letter_id = bury()

    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("away")

    monkeypatch.setattr(ClusterEvent.objects, "create", fail)
    for drop in (
        lambda: dead_letters.drop(redis, letter_id, actor="a test"),
        lambda: dead_letters.drop_all(redis, actor="a test"),
    ):
        with pytest.raises(DatabaseError):
            drop()

    assert [letter.id for letter in dead_letters.read(redis)] == [letter_id]


def test_dropping_takes_the_right_to_control(bury: Callable[..., str], django_user_model: Any) -> None:
    letter_id = bury()
    _, reader = create_token("reader", ["submit"], actor="cli (a test)")
    user = django_user_model.objects.create_user("visitor", is_staff=True)
    visitor = Client()
    visitor.force_login(user)
    url = f"/api/dead-letters/{letter_id}"

    assert Client().delete(url).status_code == 401
    assert Client().delete(url, headers={"authorization": f"Bearer {reader}"}).status_code == 403
    assert visitor.delete(url).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="change_control"))
    assert visitor.delete(url).status_code == 200


def test_a_broker_that_is_away_is_503_with_retry_after(settings: Any, tmp_path: Any) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"
    broker.client.cache_clear()

    for answer in (Client().get("/api/dead-letters"), Client().delete("/api/dead-letters", headers=TOKEN)):
        assert (answer.status_code, answer["Retry-After"]) == (503, "2")


# --- the command ----------------------------------------------------------------------------------


def test_the_command_lists_shows_and_drops(redis: Redis, bury: Callable[..., str]) -> None:
    letter_id = bury(EVIL)

    listed, shown = run("deadletters"), run("deadletters", "show", letter_id)

    assert letter_id in listed.out
    assert "not JSON" in listed.out
    assert "<script>alert(1)</script>\\x1b[2J\\xff" in shown.out
    assert "\x1b" not in shown.out
    assert run("deadletters", "drop", letter_id).out == "1 dead letter dropped\n"
    assert run("deadletters").err == "no dead letters\n"
    assert ClusterEvent.objects.get(kind="dead_letter").actor.startswith("cli (")


def test_the_command_speaks_the_fields_of_the_api(bury: Callable[..., str]) -> None:
    letter_id = bury()

    found = run("deadletters", "--json").json

    assert run("deadletters", "show", letter_id, "--json").json == found["dead_letters"][0]
    (ours,), (theirs,) = found.pop("dead_letters"), get()["dead_letters"]
    # The API cuts times to milliseconds.
    assert ours.pop("at").startswith(theirs.pop("at").removesuffix("Z"))
    assert (ours, found) == (theirs, {"kept": 1, "total": 1})
    assert run("deadletters", "drop", "--all", "--json").json == {"dropped": 1}


@pytest.mark.parametrize(
    ("words", "code"),
    [(["show"], 2), (["drop"], 2), (["drop", "0" * 12, "--all"], 2), (["--all"], 2), (["show", "0" * 12], 1)],
)
def test_the_command_refuses_what_makes_no_sense(words: list[str], code: int, bury: Callable[..., str]) -> None:
    bury()

    ran = run("deadletters", *words)

    assert (ran.code, bool(ran.error_line)) == (code, True)
    assert len(get()["dead_letters"]) == 1


def test_the_command_says_that_the_broker_is_away(settings: Any, tmp_path: Any) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"

    ran = run("deadletters")

    assert ran.code == 3
    assert "the broker is unavailable" in ran.error_line


def test_what_was_kept_by_hand_in_another_form_is_no_letter(redis: Redis) -> None:
    redis.lpush(dead_letters.dead_letters_key(), json.dumps({"at": 1}), b"\xff")

    assert [letter.reason for letter in dead_letters.read(redis)] == ["unreadable entry", "unreadable entry"]
    assert len(get()["dead_letters"]) == 2
