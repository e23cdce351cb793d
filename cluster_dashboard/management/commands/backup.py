"""`gpuc backup`: the whole cluster in one file, while it runs."""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser
from json import dumps
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from cluster_dashboard.console.command import ConsoleCommand, audit
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT
from cluster_dashboard.operations.backup import STANDARD_STREAM, backup, default_name, passing_through


class Command(ConsoleCommand):
    help = "Writes jobs, history, users, settings, witnesses and secrets into one file; the cluster may run."
    examples = """\
  gpuc backup                                  # gpu-cluster-<time>.zip in this folder
  gpuc backup /backups/tonight.zip
  gpuc backup --without-secrets to-look-at.zip
  gpuc backup - > tonight.zip                  # out of a container, over ssh

exit status: 0 done, 2 the file cannot be written, 3 the database is unavailable"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "file", metavar="FILE", nargs="?", type=Path, help="replaced if it is there; - is standard output"
        )
        parser.add_argument("--without-secrets", action="store_true", help="leave tokens and passwords out")
        parser.add_argument("--json", action="store_true", help="print JSON only")

    def answer(self, **options: Any) -> int:
        if str(options["file"]) == STANDARD_STREAM:
            with passing_through() as path:
                words = _backup(path, STANDARD_STREAM, **options)
                with path.open("rb") as whole:
                    shutil.copyfileobj(whole, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            self.note(words)
        else:
            path = options["file"] or Path(default_name())
            self.say(_backup(path, str(path), **options))
        return 0


def _backup(path: Path, called: str, *, without_secrets: bool, json: bool, **_: Any) -> str:
    """Gives what is to be said of it."""
    try:
        rows = backup(path, with_secrets=not without_secrets)
    except OSError as error:
        raise CommandError(f"FILE: {called}: {error.strerror}", returncode=EXIT_BAD_INPUT) from None
    size = path.stat().st_size
    audit("backup", f"backup of {rows['scheduler.Job']} jobs{'' if without_secrets else ', with secrets'}")
    if json:
        return dumps({"file": called, "bytes": size, "rows": rows}, indent=2)
    return f"{called}: {rows['scheduler.Job']} jobs, {size / 1e6:.1f} MB"
