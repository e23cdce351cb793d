"""Guessing passwords is slow, is seen, and locks nobody out for good."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.test import Client

from cluster_dashboard.api.http.rate_limit import Limiter
from cluster_dashboard.web import sign_in
from scheduler.models import ClusterEvent

PASSWORD = "a long password of ada"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(sign_in, "Limiter", lambda **limits: Limiter(clock=clock, **limits))
    sign_in.sign_ins.cache_clear()
    get_user_model().objects.create_superuser("ada", password=PASSWORD)
    yield clock
    sign_in.sign_ins.cache_clear()


def attempt(password: str, *, path: str = "/login", name: str = "ada", address: str = "192.0.2.7") -> Any:
    return Client(REMOTE_ADDR=address).post(path, {"username": name, "password": password})


@pytest.mark.parametrize("path", ["/login", "/admin/login/"])
def test_the_sixth_attempt_in_a_row_is_refused_before_the_password_is_checked(clock: Clock, path: str) -> None:
    for _ in range(5):
        assert b"Too many attempts" not in attempt("wrong", path=path).content

    refused = attempt(PASSWORD, path=path)

    assert b"Too many attempts. Try again in 10 s." in refused.content
    clock.now += 10
    assert attempt(PASSWORD, path=path).status_code == 302


def test_a_name_in_other_letters_is_the_same_account(clock: Clock) -> None:
    for name in ("ada", "Ada", "ADA", "aDa", "adA"):
        attempt("wrong", name=name)

    assert b"Too many attempts" in attempt("wrong").content


def test_another_address_still_signs_in_while_somebody_guesses() -> None:
    for _ in range(10):
        attempt("wrong")

    assert attempt(PASSWORD, address="192.0.2.8").status_code == 302


def test_one_address_cannot_try_many_accounts_at_once() -> None:
    refused = [b"Too many attempts" in attempt("wrong", name=f"user-{n}").content for n in range(25)]

    assert refused == [False] * 20 + [True] * 5


def test_sign_ins_are_events_and_refused_ones_name_no_actor() -> None:
    attempt("wrong", name="x" * 150)
    attempt("wrong")
    attempt(PASSWORD)

    found = list(ClusterEvent.objects.order_by("id").values_list("kind", "actor", "message"))
    why = "wrong name or password, or not allowed to sign in here"
    assert found == [
        ("sign_in_refused", "", f"Sign-in as {'x' * 60!r} from 192.0.2.7 refused: {why}"),
        ("sign_in_refused", "", f"Sign-in as 'ada' from 192.0.2.7 refused: {why}"),
        ("sign_in", "ada", "ada signed in from 192.0.2.7"),
    ]


def test_a_flood_of_refused_attempts_does_not_fill_the_table(clock: Clock) -> None:
    for n in range(100):
        attempt("wrong", address=f"192.0.2.{n}")

    assert ClusterEvent.objects.count() == sign_in.RECORDS_AT_ONCE

    clock.now += 60
    attempt("wrong")
    assert ClusterEvent.objects.latest("id").message.endswith("90 more since the last record")


@pytest.mark.parametrize("weak", ["password", "12345678", "1234567890123", "short", "administrator"])
def test_weak_passwords_are_refused_for_people(weak: str) -> None:
    with pytest.raises(ValidationError):
        validate_password(weak, get_user_model()(username="administrator"))


def test_who_knows_the_password_may_sign_in_as_often_as_wanted() -> None:
    assert {attempt(PASSWORD).status_code for _ in range(30)} == {302}
