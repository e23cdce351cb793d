"""Runs a command as a shell would: exit code, standard output, standard error."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import BytesIO, StringIO
from typing import Any

from django.core.management import load_command_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    code: int
    out: str
    err: str
    #: What went to standard output as bytes.
    raw: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error_line(self) -> str:
        """The one line on standard error."""
        (line,) = self.err.splitlines()
        return line


class Output(StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.buffer = BytesIO()


class Terminal(Output):
    def isatty(self) -> bool:
        return True


def run(*argv: object, terminal: bool = False) -> Ran:
    command, *arguments = map(str, argv)
    out, err = (Terminal(), Terminal()) if terminal else (Output(), Output())
    level = logging.getLogger().level
    code: Any = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            load_command_class("cluster_dashboard", command).run_from_argv(["manage.py", command, *arguments])
    except SystemExit as end:
        code = end.code or 0
    finally:
        logging.getLogger().setLevel(level)
    return Ran(code=code, out=out.getvalue(), err=err.getvalue(), raw=out.buffer.getvalue())


class Steps:
    """In the place of a module's `time`: each sleep lets the next thing happen, and its seconds pass at once."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self._steps = list(steps)
        self._now = 0.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds
        assert self._steps, "it waits longer than the test's story"
        self._steps.pop(0)()


def press_ctrl_c() -> None:
    raise KeyboardInterrupt
