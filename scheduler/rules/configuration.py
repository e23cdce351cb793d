"""What ends a start in one clear line: something that was configured from outside cannot be used."""

from __future__ import annotations


class EnvironmentInvalid(Exception):
    """Names the variable, file or entry point, and what it takes."""
