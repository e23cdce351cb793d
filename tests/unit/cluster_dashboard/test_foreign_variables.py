"""Which variables of the environment reach the libraries: none that configures one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

from cluster_dashboard.environment import Environment
from cluster_dashboard.foreign_variables import is_foreign, remove_foreign
from tests.project import ROOT
from tests.variables_of_libraries import read_by_libraries, variables
from tests.with_cluster.cluster import clean_environment

#: What a library may read: the terminal, the machine, and what is not part of this cluster's processes.
HARMLESS: Final = {
    "how a terminal shows text": {
        *("COLORTERM", "ConEmuANSI", "FORCE_COLOR", "ITERM_PROFILE", "LESS", "NO_COLOR", "PAGER", "TERM"),
        *("TERM_PROGRAM", "TTY_COMPATIBLE", "UNICODE_VERSION", "WCWIDTH_PYTHON", "DATABRICKS_RUNTIME_VERSION"),
        *("ANSICON", "WT_SESSION", "COLUMNS", "LINES"),
    },
    "the user and the machine": {"HOME", "PATH", "PATHEXT", "PWD", "TZ", "XDG_CONFIG_HOME", "EDITOR", "VISUAL"},
    "Windows": {"ProgramFiles", "WINDIR", "NUMBER_OF_PROCESSORS", "PROCESSOR_ARCHITECTURE", "PROCESSOR_ARCHITEW6432"},
    "transports of kombu that are not used": {
        *("PUBSUB_EMULATOR_HOST", "SLMQ_ACCOUNT", "SLMQ_HOST", "SLMQ_PORT", "SLMQ_SECURE", "SL_API_KEY"),
        "SL_USERNAME",
    },
    "a prompt or a shell's completion": {
        *("CLICK_PLUGINS_HONESTLY", "COMP_CWORD", "COMP_WORDS", "PROMPT_TOOLKIT_BELL", "PROMPT_TOOLKIT_COLOR_DEPTH"),
        *("PROMPT_TOOLKIT_NO_CPR", "PYTHONSTARTUP"),
    },
    "numpy and time zones, which jobs use too": {
        *("NPY_PROMOTION_STATE", "NUMPY_MADVISE_HUGEPAGE", "PYTZ_SKIPEXISTSCHECK", "PYTZ_TZDATADIR"),
    },
    "set by a library for itself": {"celery_dummy_proxy"},
    "a library's own tests": {"RUNNING_DJANGOS_TEST_SUITE"},
}


def test_every_variable_that_a_library_reads_is_removed_or_known_to_be_harmless() -> None:
    own = {field.upper() for field in Environment.model_fields} | {"DJANGO_SETTINGS_MODULE"}
    harmless = set().union(*HARMLESS.values())

    left = {name: files for name, files in read_by_libraries().items() if name not in harmless | own}

    assert {name: files for name, files in left.items() if not is_foreign(name)} == {}
    assert len(left) > 120


def test_nothing_harmless_is_removed() -> None:
    assert [name for names in HARMLESS.values() for name in names if is_foreign(name)] == []


def test_no_variable_of_this_cluster_is_removed() -> None:
    own = [field.upper() for field in Environment.model_fields]

    assert [name for name in (*own, *(f"{name}_FILE" for name in own)) if is_foreign(name)] == []


def test_only_the_foreign_ones_are_removed_and_they_are_named() -> None:
    variables = {"FLOWER_PORT": "5555", "FLOWER_ADDRESS": "0.0.0.0", "PGHOST": "elsewhere", "HOME": "/root"}

    assert remove_foreign(variables) == ("FLOWER_ADDRESS", "PGHOST")
    assert variables == {"FLOWER_PORT": "5555", "HOME": "/root"}


@pytest.mark.parametrize("door", ["manage.py", "gpuc.py"])
def test_a_command_does_not_use_another_projects_django(door: str) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / door, "jobs", "--help"],
        env={**clean_environment(), "DJANGO_SETTINGS_MODULE": "shop.settings", "DJANGO_AUTO_COMPLETE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == os.EX_OK, ran.stderr
    assert "usage: gpuc jobs" in ran.stdout


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("os.environ['A']", ["A"]),
        ("os.environ.get('A', 1)", ["A"]),
        ("os.getenv('A')", ["A"]),
        ("option('-b', envvar='A')", ["A"]),
        ("'A' in os.environ", ["A"]),
        ("_int_env('A', 1)", ["A"]),
        ("environ['REQUEST_METHOD'], self.environ['wsgi.input']", []),
    ],
)
def test_the_scan_finds_each_way_to_read_a_variable(source: str, found: list[str]) -> None:
    assert list(variables(source)) == found
