"""gpuc: its overview, and its answer to a verb that does not exist."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

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
    answer = gpuc("JOBZ")

    assert answer.returncode == 2
    assert answer.stderr == "gpuc: unknown verb 'JOBZ'; accepted: job, jobs; see gpuc --help\n"


def test_an_unknown_verb_that_resembles_none_is_answered_with_all_verbs():
    assert gpuc("xyzzy").stderr == f"gpuc: unknown verb 'xyzzy'; accepted: {', '.join(VERBS)}; see gpuc --help\n"


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert gpuc("--version").stdout == f"gpuc {project['version']}\n"


def test_the_overview_and_the_version_do_not_start_django():
    code = "import sys, gpuc; sys.argv[1:] = [{!r}]; gpuc.main(); print('django' in sys.modules)"

    for word in ("--help", "--version"):
        answer = subprocess.run(
            [sys.executable, "-c", code.format(word)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert answer.stdout.endswith("\nFalse\n")


@pytest.mark.parametrize(
    ("words", "verb"),
    [(("jobs", "--help"), "jobs"), (("help", "jobs"), "jobs"), (("show", "-h"), "job"), (("ps", "-h"), "jobs")],
)
def test_the_help_of_a_verb_says_gpuc_and_aliases_lead_to_their_verb(words, verb):
    answer = gpuc(*words)

    assert answer.returncode == 0
    assert answer.stdout.startswith(f"usage: gpuc {verb} ")


def test_django_s_own_verbs_pass_through():
    answer = gpuc("migrate", "--help")

    assert answer.returncode == 0
    assert "Updates database schema" in answer.stdout


def test_the_help_of_manage_shows_our_verbs_first():
    answer = subprocess.run(
        [sys.executable, ROOT / "manage.py", "help"], cwd="/", capture_output=True, text=True, check=True
    )

    assert answer.stdout.startswith(overview())
    assert " migrate " in answer.stdout.removeprefix(overview())


def test_a_wrong_setting_ends_a_verb_in_one_line():
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "cluster_dashboard.settings", "GPU_COUNT": "nine"}
    answer = subprocess.run(
        [sys.executable, ROOT / "gpuc.py", "jobs"], env=environment, capture_output=True, text=True, check=False
    )

    assert answer.returncode == 2
    assert answer.stderr.startswith("GPU_COUNT: 'nine' is not accepted; expected: ")
    assert len(answer.stderr.splitlines()) == 1


def test_the_settings_of_another_django_project_do_not_hide_the_verbs() -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop.settings"}
    ran = subprocess.run(
        [sys.executable, ROOT / "gpuc.py", "jobs", "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "usage: gpuc jobs" in ran.stdout
