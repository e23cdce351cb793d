"""`manage.py backup`: the whole cluster in one file, while it runs."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from cluster_dashboard.backup import backup, default_name
from cluster_dashboard.console.command import EXIT_BAD_INPUT, ConsoleCommand


class Command(ConsoleCommand):
    help = "Writes jobs, history, users, settings, witnesses and secrets into one file; the cluster may run."
    examples = """\
  manage.py backup                                  # gpu-cluster-<time>.zip in this folder
  manage.py backup /backups/tonight.zip
  manage.py backup --without-secrets to-look-at.zip

exit status: 0 done, 2 the file cannot be written, 3 the database does not answer"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", nargs="?", type=Path, help="replaced if it is there")
        parser.add_argument("--without-secrets", action="store_true", help="leave tokens and passwords out")
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def answer(self, **options: Any) -> int:
        path = options["file"] or Path(default_name())
        try:
            rows = backup(path, with_secrets=not options["without_secrets"])
        except OSError as error:
            raise CommandError(f"FILE: {path}: {error.strerror}", returncode=EXIT_BAD_INPUT) from None
        if options["json"]:
            self.say_json({"file": str(path), "bytes": path.stat().st_size, "rows": rows})
        else:
            self.say(f"{path}: {rows['scheduler.Job']} jobs, {path.stat().st_size / 1e6:.1f} MB")
        return 0
