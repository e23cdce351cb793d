"""The error that ends the start of a process with one clear line: a setting from outside cannot be used."""

from __future__ import annotations


class EnvironmentInvalid(Exception):
    """Names the variable, file or entry point, and what it accepts."""
