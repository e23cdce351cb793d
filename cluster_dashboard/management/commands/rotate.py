"""`gpuc rotate`: new secrets in the place of the generated ones."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from cluster_dashboard.console.arguments import OneOf
from cluster_dashboard.console.command import ConsoleCommand, audit
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT
from cluster_dashboard.operations.first_start import (
    SECRETS,
    SecretElsewhere,
    apply_given_password,
    make_state_dir,
    rotate_secrets,
    secrets_path,
)

_EFFECT = {
    "SECRET_KEY": "everybody signs in again",
    "API_TOKEN": "the old token is refused",
    "ADMIN_PASSWORD": "the old password is refused, from now on",
    "FLOWER_PASSWORD": "the old password is refused",
}


class Command(ConsoleCommand):
    help = "Makes new secrets. They stand in $STATE_DIR/.env, and act from the next start of the cluster on."
    examples = """\
  gpuc rotate API_TOKEN
  gpuc rotate --all
  gpuc rotate --apply        # ADMIN_PASSWORD or ADMIN_PASSWORD_FILE has changed: it is the admin's from now on

Tokens made by `gpuc token` are revoked there. exit status: 0 done, 2 bad input, 3 the database is unavailable"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("names", metavar="NAME", nargs="*", type=OneOf(SECRETS), help=f"{', '.join(SECRETS)}")
        parser.add_argument("--all", action="store_true", help="all of them")
        parser.add_argument(
            "--apply", action="store_true", help="give the admin the password that comes from the environment"
        )

    def answer(self, **options: Any) -> int:
        if options["apply"]:
            return self._apply(names=options["names"], everything=options["all"])
        names = list(SECRETS) if options["all"] else options["names"]
        if not names:
            words = f"NAME: expected at least one of {', '.join(SECRETS)}, or --all or --apply"
            raise CommandError(words, returncode=EXIT_BAD_INPUT)
        make_state_dir()
        try:
            rotate_secrets(names)
        except SecretElsewhere as error:
            raise CommandError(f"NAME: {error}", returncode=EXIT_BAD_INPUT) from None
        audit("rotate", f"new secrets: {', '.join(names)}")
        for name in names:
            self.say(f"{name}: new in {secrets_path()}; {_EFFECT[name]}")
        if names != ["ADMIN_PASSWORD"]:
            self.say("stop and start the cluster: its processes have read the old ones")
        return 0

    def _apply(self, *, names: list[str], everything: bool) -> int:
        if names or everything:
            raise CommandError("--apply: accepts neither NAME nor --all", returncode=EXIT_BAD_INPUT)
        try:
            apply_given_password()
        except SecretElsewhere as error:
            raise CommandError(f"--apply: {error}", returncode=EXIT_BAD_INPUT) from None
        audit("rotate", "ADMIN_PASSWORD of the environment given to the admin")
        self.say("ADMIN_PASSWORD: the admin has it; the old password is refused, from now on")
        return 0
