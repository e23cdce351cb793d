"""The error that ends the start of a process with one clear line: a setting from outside cannot be used."""

from __future__ import annotations

from typing import ClassVar


class EnvironmentInvalid(Exception):
    """Names the variable, file or entry point, and what it accepts."""

    exit_code: ClassVar[int] = 2


class ServerUnreachable(EnvironmentInvalid):
    """Names the variable whose server does not answer."""

    exit_code: ClassVar[int] = 3
