"""`gpuc restore`: a backup in the place of what the database holds; also how to move to PostgreSQL."""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from cluster_dashboard.console.command import ConsoleCommand, audit
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT, EXIT_FAILED
from cluster_dashboard.operations import first_start
from cluster_dashboard.operations.archive import BackupInvalid, is_backup
from cluster_dashboard.operations.backup import STANDARD_STREAM, RestoreRefused, passing_through, restore


class Command(ConsoleCommand):
    help = "Puts a backup in the place of what the database of this STATE_DIR and DATABASE_URL holds: all or nothing."
    examples = """\
  gpuc restore gpu-cluster-20260131-120000.zip
  gpuc restore --replace tonight.zip           # although there are jobs
  gpuc restore - < tonight.zip                 # into a container, over ssh
  DATABASE_URL=postgres://user@host/cluster gpuc restore tonight.zip     # SQLite moves to PostgreSQL

The cluster must be stopped. Jobs that ran at the moment of the backup run again, without a charge.

exit status: 0 done, 1 refused, 2 not a backup that fits, 3 the database is unavailable"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path, help="- is standard input")
        parser.add_argument(
            "--replace", action="store_true", help="even if the database holds jobs; they are gone then"
        )
        parser.add_argument(
            "--without-secrets", action="store_true", help="keep the tokens and passwords of this place"
        )
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def handle(self, *args: Any, **options: Any) -> None:
        with _at_hand(options["file"]) as path:
            if is_backup(path):
                # The tables to restore into; a new place has none yet.
                first_start.make_state_dir()
                first_start.prepare_database()
            super().handle(*args, **options, path=path)

    def answer(self, **options: Any) -> int:
        file, path = options["file"], options["path"]
        try:
            rows = restore(path, replace=options["replace"], with_secrets=not options["without_secrets"])
        except BackupInvalid as error:
            words = str(error).replace(str(path), str(file), 1)
            raise CommandError(f"FILE: {words}", returncode=EXIT_BAD_INPUT) from None
        except RestoreRefused as error:
            raise CommandError(str(error), returncode=EXIT_FAILED) from None
        audit("restore", f"restored from a backup of {rows['scheduler.Job']} jobs")
        if options["json"]:
            self.say_json({"file": str(file), "rows": rows})
        else:
            self.say(f"{file}: {rows['scheduler.Job']} jobs are back")
        if first_start.secrets_given() and not first_start.admin_password_works():
            self.note("passwords are the backup's; `gpuc rotate --apply` sets the admin's from the environment")
        return 0


@contextmanager
def _at_hand(file: Path) -> Iterator[Path]:
    """The file; what comes by standard input is written to one first."""
    if str(file) != STANDARD_STREAM:
        yield file
        return
    first_start.make_state_dir()
    with passing_through() as path:
        with path.open("xb") as whole:
            shutil.copyfileobj(sys.stdin.buffer, whole)
        yield path
