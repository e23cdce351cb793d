"""The base of the commands for people: errors in one line with an exit code each, --json, help with examples."""

from __future__ import annotations

import json
import logging
import os
import pwd
import sys
from argparse import RawDescriptionHelpFormatter
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError
from django.db import InterfaceError, OperationalError, ProgrammingError, connection

from cluster_dashboard.console.exit_codes import (
    EXIT_BAD_INPUT,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NO_ROOM,
    EXIT_UNAVAILABLE,
)
from cluster_dashboard.console.text import one_line
from cluster_dashboard.console.verbs import PROGRAM
from scheduler.database_errors import DatabaseFailure
from scheduler.job_type import ParamsInvalid
from scheduler.jobs.room import NoRoom
from scheduler.logs import event_logger
from scheduler.models import ClusterEvent, Control
from scheduler.rules.configuration import EnvironmentInvalid

log = event_logger(__name__)

#: Errors of a database that is unavailable.
DATABASE_UNAVAILABLE: Final = (OperationalError, InterfaceError)

START_FIRST: Final = "start the cluster first (make run), or set STATE_DIR or DATABASE_URL as it has them"


class ConsoleCommand(BaseCommand):
    """A subclass has `help`, `examples`, its arguments, and `answer`, which returns the exit code."""

    requires_system_checks = []
    #: Django's own options work, but help is about ours.
    suppressed_base_arguments = {
        "--version",
        "--verbosity",
        "--settings",
        "--pythonpath",
        "--traceback",
        "--no-color",
        "--force-color",
    }
    examples: ClassVar[str] = ""
    #: What a field of scheduler.jobs.admission or scheduler.jobs.controls is called here.
    option_names: ClassVar[dict[str, str]] = {}

    #: Whether it reads the database; if that does not exist, the command ends at once.
    needs_database: ClassVar[bool] = True
    #: Log records below it are not printed: they would be between the lines of the answer. None: all are.
    log_level: ClassVar[int | None] = logging.WARNING

    #: Django's, whose type stubs lack it.
    _called_from_command_line: bool

    def answer(self, **options: Any) -> int:
        raise NotImplementedError

    def epilog(self) -> str:
        return f"examples:\n{self.examples}"

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        kwargs = {"formatter_class": RawDescriptionHelpFormatter, "epilog": self.epilog(), **kwargs}
        parser = super().create_parser(PROGRAM, subcommand, **kwargs)
        # Django leaves no other way to choose the parser's class.
        parser.__class__ = OneLineParser
        return parser

    def handle(self, *_args: Any, **options: Any) -> None:
        if self.log_level is not None and self._called_from_command_line:
            logging.getLogger().setLevel(self.log_level)
        _write_what_the_terminal_cannot_show()
        try:
            if self.needs_database:
                check_database_is_there()
            code = self.answer(**options)
            self.stdout.flush()
        except SystemCheckError:
            raise  # several lines, which Django prints
        except CommandError as error:
            if options["traceback"] or not self._called_from_command_line:
                raise
            self._end(str(error), error.returncode)
        except ParamsInvalid as error:
            self._end(f"{self._option_name(error.field)}: {error.message}", EXIT_BAD_INPUT)
        except NoRoom as error:
            self._end(f"no room for more jobs: {error}", EXIT_NO_ROOM)
        except (*DATABASE_UNAVAILABLE, ProgrammingError, Control.DoesNotExist) as error:
            self._end(database_words(error), EXIT_UNAVAILABLE)
        except EnvironmentInvalid as error:
            self._end(str(error), error.exit_code)
        except KeyboardInterrupt:
            self._end("interrupted", EXIT_INTERRUPTED)
        except BrokenPipeError:
            # The reader, such as `head`, has enough. Python would complain when it flushes at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(EXIT_FAILED)
        if code:
            sys.exit(code)

    def say(self, text: str) -> None:
        self.stdout.write(f"{text}\n")
        self.stdout.flush()  # ids are seen before the wait, in a pipe too

    def say_json(self, values: Any) -> None:
        """In ASCII: other characters are escaped, so that none of them acts on a terminal."""
        self.say(json.dumps(values, indent=2, allow_nan=False))

    def note(self, text: str) -> None:
        """Beside the answer: on standard error."""
        self.stderr.write(f"{one_line(text)}\n", lambda line: line)

    def _option_name(self, field: str) -> str:
        first, _, rest = field.partition(".")
        name = self.option_names.get(first, first)
        return f"{name} {rest}" if rest else name

    def _end(self, words: str, code: int) -> NoReturn:
        self.stderr.write(f"{one_line(f'{PROGRAM} {verb_of(self)}: {words}')}\n")
        sys.exit(code)


class OneLineParser(CommandParser):
    """Names what is wrong without repeating the whole usage, as `error` of the commands does."""

    def error(self, message: str) -> NoReturn:
        message = message.removeprefix("argument ")
        if not self.called_from_command_line:
            raise CommandError(message, returncode=EXIT_BAD_INPUT)
        self.exit(EXIT_BAD_INPUT, f"{one_line(f'{self.prog}: {message}; see {self.prog} --help')}\n")


def verb_of(command: BaseCommand) -> str:
    return type(command).__module__.rpartition(".")[2]


def check_database_is_there() -> None:
    """SQLite would make an empty file where there is none, and then miss its tables."""
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite" and not Path(name).exists():
        raise CommandError(f"there is no database at {name}: {START_FIRST}", returncode=EXIT_UNAVAILABLE)


def database_words(error: Exception) -> str:
    words = str(error)
    if "column" in words and ("no such" in words or isinstance(error, ProgrammingError)):
        return "the tables are of another version: stop the cluster, and start it again (make run)"
    if "no such table" in words or isinstance(error, ProgrammingError | Control.DoesNotExist):
        return f"the database holds no cluster yet: {START_FIRST}"
    reason = next(iter(words.strip().splitlines()), "") or type(error).__name__
    return f"the database is unavailable: {reason}"


def actor() -> str:
    """Who is named in events."""
    return f"cli ({unix_user()})"


def audit(kind: str, what: str) -> None:
    """An event of the cluster with who did it. What was done stays done if the database is unavailable."""
    try:
        ClusterEvent.objects.create(kind=kind, actor=actor(), message=f"{what}, by {actor()}"[:300])
    except DatabaseFailure as error:
        log.warning("event_not_recorded", kind=kind, error=error)


def unix_user() -> str:
    """Who owns the jobs that a command submits: by the kernel's word and not the environment's."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())  # a container's user that has no name


def _write_what_the_terminal_cannot_show() -> None:
    """A terminal or pipe of another encoding than UTF-8 gets escapes, not an exception."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # a stream of the tests' own
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
