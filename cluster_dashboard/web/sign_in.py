"""Sign-in with a password: limited by client, and recorded. The same form for the page and the admin."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from threading import Lock
from typing import Any, Final

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm

from cluster_dashboard.api.http.open_stream import client_of
from cluster_dashboard.api.http.rate_limit import Limiter
from scheduler.logs import event_logger
from scheduler.models import ClusterEvent

log = event_logger(__name__)

#: Attempts at once and then a minute, of one address for one account. The account is not locked: another address may
#: still sign in, and this one again after seconds.
ATTEMPTS_AT_ONCE, ATTEMPTS_PER_MINUTE = 5, 6
#: The same of one address for all accounts together: behind a proxy several people share an address.
ALL_ATTEMPTS_AT_ONCE, ALL_ATTEMPTS_PER_MINUTE = 20, 30
#: Refused attempts that are recorded at once and then a minute; the next record has the number of the others.
RECORDS_AT_ONCE, RECORDS_PER_MINUTE = 10, 6
#: Of a name that somebody typed.
NAME_SHOWN: Final = 60


class SignIns:
    """What this process has seen."""

    def __init__(self) -> None:
        self._of_one = Limiter(per_minute=ATTEMPTS_PER_MINUTE, burst=ATTEMPTS_AT_ONCE)
        self._of_all = Limiter(per_minute=ALL_ATTEMPTS_PER_MINUTE, burst=ALL_ATTEMPTS_AT_ONCE)
        self._records = Limiter(per_minute=RECORDS_PER_MINUTE, burst=RECORDS_AT_ONCE)
        self._not_recorded: Counter[str] = Counter()
        self._lock = Lock()

    def wait_seconds(self, address: str, name: str) -> float:
        """Counts an attempt. 0: its password may be checked."""
        return self._of_all.wait_seconds(address) or self._of_one.wait_seconds(_account(address, name))

    def refused(self, address: str, name: str, why: str) -> None:
        """A flood of them must not fill the table, nor the log. Retention removes them: they name no actor."""
        if self._records.wait_seconds("refused") > 0:
            with self._lock:
                self._not_recorded[why] += 1
            return
        with self._lock:
            others, self._not_recorded = self._not_recorded, Counter()
        more = f"; {others.total()} more since the last record" if others else ""
        message = f"Sign-in as {name[:NAME_SHOWN]!r} from {address or 'an unknown address'} refused: {why}{more}"
        log.warning("sign_in_refused", user=name[:NAME_SHOWN], client=address, reason=why, not_logged=others.total())
        ClusterEvent.objects.create(kind="sign_in_refused", message=message[:300])

    def accepted(self, address: str, name: str) -> None:
        """The right password is no guess: it does not count."""
        self._of_all.give_back(address)
        self._of_one.give_back(_account(address, name))
        message = f"{name} signed in from {address or 'an unknown address'}"
        ClusterEvent.objects.create(kind="sign_in", actor=name, message=message[:300])


def _account(address: str, name: str) -> str:
    return f"{address} {name.casefold()}"


@cache
def sign_ins() -> SignIns:
    return SignIns()


class LimitedForm(AuthenticationForm):
    """Checks no password while a client has too many attempts."""

    def clean(self) -> dict[str, Any]:
        address, name = ("" if self.request is None else client_of(self.request)), self.cleaned_data.get("username")
        if not name:
            return super().clean()
        wait = sign_ins().wait_seconds(address, name)
        if wait > 0:
            sign_ins().refused(address, name, "too many attempts")
            words = f"Too many attempts. Try again in {math.ceil(wait)} s."
            raise forms.ValidationError(words, code="too_many_attempts")
        try:
            found = super().clean()
        except forms.ValidationError:
            sign_ins().refused(address, name, "wrong name or password, or not allowed to sign in here")
            raise
        sign_ins().accepted(address, name)
        return found


class LimitedAdminForm(LimitedForm, AdminAuthenticationForm):
    """For the admin's own page: staff only."""
