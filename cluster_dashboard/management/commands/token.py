"""`gpuc token`: API tokens for scripts, made, listed and revoked."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from cluster_dashboard.console.arguments import OneOf, word_of
from cluster_dashboard.console.command import ConsoleCommand, actor
from cluster_dashboard.console.exit_codes import EXIT_FAILED
from cluster_dashboard.models import ApiToken
from cluster_dashboard.tokens import Scope, create_token, revoke_token


class Command(ConsoleCommand):
    help = "API tokens for scripts. Each has a name and scopes; its secret is shown once, when it is made."
    examples = """\
  gpuc token create ci --scope submit
  gpuc token create ops --scope submit --scope control
  gpuc token list
  gpuc token revoke ci

exit status: 0 done, 1 there is no valid token of that name, 2 bad input, 3 the database is unavailable"""
    option_names = {"scope": "--scope", "name": "NAME"}

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = ("create", "list", "revoke")
        parser.add_argument("action", metavar="ACTION", type=OneOf(actions), help=", ".join(actions))
        parser.add_argument("name", metavar="NAME", nargs="?", default="")
        words = f"{', '.join(Scope)}; may be given several times, and reading is part of every token"
        parser.add_argument("--scope", action="append", default=[], metavar="SCOPE", type=word_of(Scope), help=words)
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def answer(self, **options: Any) -> int:
        if options["action"] == "create":
            return self._create(options["name"], options["scope"] or [Scope.READ], as_json=options["json"])
        if options["action"] == "revoke":
            return self._revoke(options["name"])
        return self._list(as_json=options["json"])

    def _create(self, name: str, scopes: list[str], *, as_json: bool) -> int:
        token, secret = create_token(name, scopes, actor=actor())
        if as_json:
            self.say_json({"name": token.name, "scopes": token.scopes, "token": secret})
        else:
            self.note(f"token {token.name} for {', '.join(token.scopes)}; it is shown this once:")
            self.say(secret)
        return 0

    def _revoke(self, name: str) -> int:
        if not revoke_token(name, actor=actor()):
            self.note(f"there is no valid token {name!r}")
            return EXIT_FAILED
        self.say(f"revoked {name}")
        return 0

    def _list(self, *, as_json: bool) -> int:
        tokens = list(ApiToken.objects.filter(revoked_at__isnull=True).order_by("name"))
        if as_json:
            self.say_json({"tokens": [_shown(token) for token in tokens]})
            return 0
        for token in tokens:
            used = "never used" if token.last_used_at is None else f"used {_minute(token.last_used_at)}"
            scopes = ",".join(token.scopes)
            self.say(f"{token.name:<20} {token.prefix}…  {scopes:<20} made {_minute(token.created_at)}, {used}")
        return 0


def _shown(token: ApiToken) -> dict[str, Any]:
    return {
        "name": token.name,
        "prefix": token.prefix,
        "scopes": token.scopes,
        "created_by": token.created_by,
        "created_at": token.created_at.isoformat(),
        "last_used_at": None if token.last_used_at is None else token.last_used_at.isoformat(),
    }


def _minute(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
