"""`manage.py restore`: a backup in the place of what the database holds; also how to move to PostgreSQL."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from cluster_dashboard import first_start
from cluster_dashboard.backup import BackupInvalid, RestoreRefused, restore
from cluster_dashboard.console.command import EXIT_BAD_INPUT, EXIT_FAILED, ConsoleCommand


class Command(ConsoleCommand):
    help = "Puts a backup in the place of what the database of this STATE_DIR and DATABASE_URL holds: all or nothing."
    examples = """\
  manage.py restore gpu-cluster-20260131-120000.zip
  manage.py restore --replace tonight.zip           # although there are jobs
  DATABASE_URL=postgres://user@host/cluster manage.py restore tonight.zip     # SQLite moves to PostgreSQL

The cluster must be stopped. Jobs that ran at the moment of the backup run again, without a charge.

exit status: 0 done, 1 refused, 2 not a backup that fits, 3 the database does not answer"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", type=Path)
        parser.add_argument(
            "--replace", action="store_true", help="even if the database holds jobs; they are gone then"
        )
        parser.add_argument(
            "--without-secrets", action="store_true", help="keep the tokens and passwords of this place"
        )
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["file"].is_file():
            # The tables to restore into; a new place has none yet.
            first_start.make_state_dir()
            first_start.prepare_database()
        super().handle(*args, **options)

    def answer(self, **options: Any) -> int:
        path = options["file"]
        try:
            rows = restore(path, replace=options["replace"], with_secrets=not options["without_secrets"])
        except BackupInvalid as error:
            raise CommandError(f"FILE: {error}", returncode=EXIT_BAD_INPUT) from None
        except RestoreRefused as error:
            raise CommandError(str(error), returncode=EXIT_FAILED) from None
        if options["json"]:
            self.say_json({"file": str(path), "rows": rows})
        else:
            self.say(f"{path}: {rows['scheduler.Job']} jobs are back")
        return 0
