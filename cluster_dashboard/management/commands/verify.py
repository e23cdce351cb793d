"""`gpuc verify`: the verdict on what this cluster did."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError

from cluster_dashboard.console.arguments import moment_or_age
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT
from cluster_dashboard.operations.worker_folders import witness_folders
from scheduler.verdict.judge import judge
from scheduler.verdict.log import first_job_since
from scheduler.verdict.report import as_html, as_junit, as_text
from scheduler.verdict.witnesses import WitnessInvalid, check_folder, unpack

#: In the place of a folder: a tar on standard input.
STANDARD_INPUT: Final = "-"
ACCEPTS: Final = "accepts a folder with another host's witness files (gpu-N.jsonl), or - for a tar on standard input"


def _folder(value: str) -> str:
    """The absolute path, or `-`."""
    if value == STANDARD_INPUT:
        return value
    folder = Path(value).resolve()
    try:
        check_folder(folder)
    except WitnessInvalid as error:
        raise ArgumentTypeError(f"{error}; it {ACCEPTS}") from None
    return str(folder)


@contextmanager
def _folders(name: str) -> Iterator[Sequence[Path]]:
    """The folders that `--witness NAME` means; temporary ones exist until the end of the block."""
    if name != STANDARD_INPUT:
        yield [Path(name)]
        return
    if sys.stdin.isatty():
        raise CommandError(f"--witness -: standard input is a terminal; it {ACCEPTS}", returncode=EXIT_BAD_INPUT)
    with TemporaryDirectory(prefix="witness-") as folder:
        try:
            found = unpack(sys.stdin.buffer, Path(folder))
        except WitnessInvalid as error:
            raise CommandError(f"--witness -: {error}; it {ACCEPTS}", returncode=EXIT_BAD_INPUT) from None
        yield found


class Command(ConsoleCommand):
    help = "Proves from the event log and the workers' own records that no job was lost and none was recorded twice."
    examples = """\
  gpuc verify
  gpuc verify --since 30m --json | jq .outcome
  gpuc verify --junit verdict.xml --html verdict.html
  gpuc verify --witness /fetched/host-2

exit status: 0 the guarantees hold, 1 one is broken, 2 bad input, or the log or the witness records are incomplete,
             3 the database is unavailable"""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--since",
            metavar="TIME",
            type=moment_or_age,
            help="only jobs submitted since then: an ISO time, or an age such as 90s, 15m, 2h, 7d",
        )
        parser.add_argument(
            "--witness",
            type=_folder,
            action="append",
            default=[],
            metavar="DIR",
            help="also read the witness files of another host, from a copy of its $STATE_DIR/witness; - reads a tar of "
            "them from standard input; may be repeated",
        )
        parser.add_argument("--json", action="store_true", help="print JSON only")
        parser.add_argument("--junit", type=Path, metavar="FILE", help="also write JUnit XML")
        parser.add_argument("--html", type=Path, metavar="FILE", help="also write an HTML page")

    def answer(self, **options: Any) -> int:
        names = list(dict.fromkeys([*map(str, witness_folders()), *options["witness"]]))
        first_job = first_job_since(options["since"]) if options["since"] else 0
        with ExitStack() as stack:
            folders = [folder for name in names for folder in stack.enter_context(_folders(name))]
            try:
                verdict = judge(*folders, first_job=first_job, ageing_seconds=settings.AGEING_SECONDS)
            except WitnessInvalid as error:
                raise CommandError(str(error), returncode=EXIT_BAD_INPUT) from None
        found = {**verdict.as_dict(), "witness_folders": names}
        if options["json"]:
            self.say_json(found)
        else:
            self.say(as_text(verdict))
        for option, as_page in (("junit", as_junit), ("html", as_html)):
            if options[option]:
                _write(f"--{option}", options[option], as_page(verdict))
        return int(verdict.outcome)


def _write(option: str, path: Path, text: str) -> None:
    try:
        path.write_text(text)
    except OSError as error:
        words = f"{option}: {path}: {error.strerror}; it accepts a file that can be written"
        raise CommandError(words, returncode=EXIT_BAD_INPUT) from None
