"""One of several schedulers acts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
from django.db.models import F

from scheduler.loops.lease import RENEWAL_SECONDS, TERM_SECONDS, LeaseHolder
from scheduler.models import Lease

pytestmark = pytest.mark.django_db(transaction=True)


def elsewhere(number: int) -> LeaseHolder:
    """A scheduler on another machine."""
    return LeaseHolder("relay", holder=f"host-{number}/1/abc")


def let_expire() -> None:
    Lease.objects.update(expires_at=F("expires_at") - timedelta(seconds=TERM_SECONDS + 1))


def test_the_first_one_holds_it_and_the_second_waits():
    first, second = elsewhere(1), elsewhere(2)

    assert first.held(0.0)
    assert not second.held(0.0)


def test_a_holder_that_is_silent_loses_it():
    first, second = elsewhere(1), elsewhere(2)
    first.held(0.0)
    let_expire()

    assert second.held(0.0)
    assert not first.held(RENEWAL_SECONDS + 0.1)


def test_a_holder_renews_before_its_term_ends():
    first = elsewhere(1)
    first.held(0.0)
    let_expire()

    assert first.held(RENEWAL_SECONDS + 0.1)
    assert not elsewhere(2).held(0.0)


def test_a_holder_that_cannot_ask_stops_when_its_term_ends():
    first = elsewhere(1)
    first.held(0.0)
    first._renew_at = float("inf")

    assert first.held(TERM_SECONDS - 0.1)
    assert not first.held(TERM_SECONDS + 0.1)


def test_a_dead_process_of_this_machine_is_succeeded_at_once():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    LeaseHolder("relay", holder=f"{socket.gethostname()}/{gone.pid}/abc").held(0.0)

    assert LeaseHolder("relay").held(0.0)


def test_a_living_process_of_this_machine_is_waited_for():
    LeaseHolder("relay", holder=f"{socket.gethostname()}/{os.getpid()}/abc").held(0.0)

    assert not LeaseHolder("relay").held(0.0)


def test_two_leases_do_not_meet():
    assert elsewhere(1).held(0.0)
    assert LeaseHolder("reaper", holder="host-2/1/abc").held(0.0)
