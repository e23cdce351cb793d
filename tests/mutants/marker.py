"""Tests marked with `mutant` run in a process of their own, on the copy of the source that the mark names.

There they pass: they assert the harm that the protection prevents.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import Any, Final, Self

import pytest

from tests.mutants.source import mutant_of, source_without
from tests.project import ROOT

#: Only what the tests need: loading all installed plugins would triple the time of a run.
_PLUGINS: Final = ("-p", "pytest_django.plugin", "-p", "pytest_timeout", "-p", "no:cacheprovider")


class FailsInTheCopy(Exception):
    """Its text is pytest's output from there."""


class InTheCopy(pytest.Item):
    """Replaces a test of the same name; its outcome is that of a run in the copy."""

    def __init__(self, *, original: pytest.Item, mutant: str, **more: Any) -> None:
        super().__init__(**more)
        self._location, self.mutant = original.reportinfo(), mutant
        self.own_markers = list(original.own_markers)
        # It needs no fixtures here; pytest-docker-tools looks at those of each test that fails.
        self.funcargs: dict[str, Any] = {}

    @classmethod
    def of(cls, original: pytest.Item, mutant: str) -> Self:
        return cls.from_parent(original.parent, name=original.name, original=original, mutant=mutant)

    def runtest(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-rs", *_PLUGINS, self.nodeid],
            cwd=source_without(self.mutant),
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode == 0 and (skipped := re.search(r"^SKIPPED \[1\] (.*)$", done.stdout, re.MULTILINE)):
            pytest.skip(skipped[1])
        if done.returncode != 0 or "1 passed" not in done.stdout:
            raise FailsInTheCopy(f"with {self.mutant}.patch (exit code {done.returncode}):\n{done.stdout}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return str(excinfo.value) if excinfo.errisinstance(FailsInTheCopy) else super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self._location


def _environment() -> dict[str, str]:
    """Without the variables of this run of pytest."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {**others, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def place(item: pytest.Item) -> pytest.Item:
    """The test itself, or the item that runs it in its copy."""
    mark = item.get_closest_marker("mutant")
    if mark is None:
        return item
    (wanted,), here = mark.args, mutant_of(ROOT)
    if here is None:
        return InTheCopy.of(item, wanted)
    if here != wanted:
        raise pytest.UsageError(f"{item.nodeid} is about {wanted}, and this is a copy with {here}")
    return item
