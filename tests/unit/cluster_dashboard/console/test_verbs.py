"""gpuc: its overview, and its answer to a verb that does not exist."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.core.management import get_commands

from cluster_dashboard.console.verbs import VERBS, overview
from tests.project import ROOT


def gpuc(*words, cwd="/"):
    return subprocess.run(
        [sys.executable, ROOT / "gpuc.py", *words], cwd=cwd, capture_output=True, text=True, check=False
    )


def test_each_command_of_the_cluster_is_a_verb():
    foreign = ("django", "daphne", "ninja")
    ours = {name for name, app in get_commands().items() if not str(app).startswith(foreign)}

    assert set(VERBS) == ours


@pytest.mark.parametrize("words", [(), ("help",), ("--help",)])
def test_without_a_verb_it_prints_the_overview(words):
    answer = gpuc(*words)

    assert (answer.returncode, answer.stdout.strip()) == (0, overview())
    assert max(map(len, overview().splitlines())) <= 80


def test_an_unknown_verb_is_one_line_with_the_nearest_ones():
    answer = gpuc("jobz")

    assert answer.returncode == 2
    assert answer.stderr == "gpuc: unknown verb 'jobz'; accepted: job, jobs\n"


def test_the_help_of_a_verb_says_gpuc():
    answer = gpuc("jobs", "--help")

    assert answer.returncode == 0
    assert answer.stdout.startswith("usage: gpuc jobs")
