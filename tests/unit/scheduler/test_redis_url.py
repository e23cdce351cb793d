"""REDIS_URL means the same to redis-py and to Celery, whatever its parts contain."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import Connection
from redis import ConnectionPool, SSLConnection
from redis.connection import UnixDomainSocketConnection

from scheduler.broker.transport import GuardedChannel
from scheduler.redis_url import celery_url, check_redis_url

SEEN = ("host", "port", "path", "username", "password", "db")

#: What a password manager may draw; an environment cannot hold a NUL, nor half a surrogate pair.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
databases = st.integers(min_value=0, max_value=15)


def seen_by_redis(url: str) -> dict[str, Any]:
    found = {"host": "localhost", "port": 6379, **ConnectionPool.from_url(url).connection_kwargs}
    return {name: value for name in SEEN if (value := found.get(name)) is not None} | {"db": found.get("db", 0)}


def seen_by_celery(url: str) -> dict[str, Any]:
    channel: Any = GuardedChannel.__new__(GuardedChannel)
    channel.connection = SimpleNamespace(client=Connection(celery_url(url)), default_port=6379)
    found = channel._connparams()
    if found["connection_class"] is UnixDomainSocketConnection:
        found = {"host": "localhost", "port": 6379, **found}
    return {name: found[name] for name in SEEN if found.get(name) is not None}


@given(user=st.just("") | words, password=words, database=databases)
def test_a_servers_password_reaches_both(user: str, password: str, database: int) -> None:
    url = f"redis://{quote(user, safe='')}:{quote(password, safe='')}@broker.example:6380/{database}"

    assert seen_by_celery(check_redis_url(url)) == seen_by_redis(url)
    assert seen_by_redis(url)["password"] == password


@given(user=st.just("") | words, password=st.just("") | words, path=words, database=databases)
def test_a_sockets_password_path_and_database_reach_both(user: str, password: str, path: str, database: int) -> None:
    credentials = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    url = f"unix://{credentials}/{quote(path)}?db={database}"

    assert seen_by_celery(check_redis_url(url)) == seen_by_redis(url)
    assert seen_by_redis(url)["path"] == f"/{path}"


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://broker",
        "redis://broker?db=3",
        "redis://broker/2?db=3",
        "redis://[::1]:6380/1",
        "redis://:p@ss@broker",
        "redis://:100%@broker",
        "unix:///run/redis.sock",
    ],
)
def test_both_read_each_form(url: str) -> None:
    assert seen_by_celery(check_redis_url(url)) == seen_by_redis(url)


@pytest.mark.parametrize(
    ("options", "requirement"), [("", 2), ("?ssl_cert_reqs=optional", 1), ("?ssl_cert_reqs=none", 0)]
)
def test_tls_is_used_and_verified_unless_the_url_says_otherwise(options: str, requirement: int) -> None:
    url = check_redis_url(f"rediss://:secret@broker{options}")
    channel: Any = GuardedChannel.__new__(GuardedChannel)
    channel.connection = SimpleNamespace(client=Connection(celery_url(url)), default_port=6379)

    found = channel._connparams()

    assert issubclass(found["connection_class"], SSLConnection)
    assert found["ssl_cert_reqs"] == requirement


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://:pa#ss@broker/0", "%23"),
        ("redis://:pa/ss@broker/0", "%2F"),
        ("redis://:pa?ss@broker/0", "%3F"),
        ("redis://:pa[ss@broker/0", "%5B"),
        ("redis://broker/zero", "number of a database"),
        ("redis://broker/-1", "number of the database"),
        ("redis://broker?db=x", "told apart"),
        ("redis://broker;redis://other", "number of a database"),
        ("redis://broker?max_connections=1", "max_connections"),
        ("redis://broker?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("rediss://broker?ssl_cert_reqs=perhaps", "ssl_cert_reqs"),
        ("unix://run/redis.sock", "absolute"),
        ("unix://", "absolute"),
    ],
)
def test_what_would_be_read_in_two_ways_is_refused_without_showing_it(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        check_redis_url(url)

    assert "ss@" not in str(caught.value)
