"""Each verb of ours: its help, its answer to a wrong option, and to a database that is unreachable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile

import pytest

from cluster_dashboard.console.verbs import VERBS
from cluster_dashboard.management.commands.completion import parser_of
from cluster_dashboard.tokens import Scope
from scheduler.rules.faults import FaultKind
from scheduler.rules.states import JobState, Priority
from tests.project import ROOT
from tests.with_database import cli

#: What each verb that needs the database is called with. `up` is in tests/with_cluster; `start` waits for it.
WITH_DATABASE = {
    "submit": ["sleep"],
    "jobs": [],
    "job": ["17"],
    "cancel": ["17"],
    "status": ["--once"],
    "gpus": [],
    "events": [],
    "drain": ["0"],
    "undrain": ["0"],
    "quarantine": ["0"],
    "release": ["0"],
    "rate": ["30"],
    "deadletters": [],
    "verify": [],
    "inject": ["worker_killed", "--gpu", "0"],
    "chaos": ["kill_child"],
    "setup": [],
    "token": ["list"],
    "rotate": ["ADMIN_PASSWORD"],
    "backup": ["tonight.zip"],
    "restore": ["backup.zip"],
}
ARGUMENTS = {**WITH_DATABASE, "start": ["web"], "completion": ["bash"]}
WITHOUT_DATABASE = {"up", "start", "completion"}

#: They run programs, write settings, or print a script: none prints data.
WITHOUT_JSON = {"up", "start", "setup", "rotate", "completion"}


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example_that_says_gpuc(verb):
    ran = cli.run(verb, "--help")

    assert (ran.code, ran.err) == (0, "")
    assert re.search(rf"^examples:\n  (\S+ )?gpuc {verb}\b", ran.out, re.MULTILINE), ran.out
    assert "manage.py" not in ran.out


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in WITHOUT_JSON])
def test_each_verb_that_prints_data_has_json(verb):
    assert re.search(r"^  --json +print JSON only", cli.run(verb, "--help").out, re.MULTILINE)
    assert vars(parser_of(verb).parse_args([*ARGUMENTS[verb], "--json"]))["json"] is True


@pytest.mark.parametrize("verb", VERBS)
def test_a_wrong_option_is_bad_input_in_one_line(verb):
    ran = cli.run(verb, *ARGUMENTS.get(verb, []), "--no-such-option")

    assert (ran.code, ran.out) == (2, "")
    assert ran.error_line == f"gpuc {verb}: unrecognized arguments: --no-such-option; see gpuc {verb} --help"


@pytest.mark.parametrize(
    ("words", "name", "meant"),
    [
        (("submit", "sleep", "--priority", "HIGH"), "priority", Priority.HIGH),
        (("jobs", "--state", "FAILED"), "state", JobState.FAILED),
        (("jobs", "--priority", "Low"), "priority", Priority.LOW),
        (("inject", "WORKER_HUNG", "--gpu", "3"), "kind", FaultKind.WORKER_HUNG),
        (("chaos", "Kill_Worker"), "names", ["kill_worker"]),
        (("token", "CREATE", "ci", "--scope", "Submit"), "scope", [Scope.SUBMIT]),
        (("deadletters", "Drop", "--all"), "action", "drop"),
        (("rotate", "api_token"), "names", ["API_TOKEN"]),
        (("completion", "BASH"), "shell", "bash"),
    ],
)
def test_words_are_accepted_in_any_case(words, name, meant):
    verb, *arguments = words

    assert vars(parser_of(verb).parse_args(arguments))[name] == meant


def test_each_verb_is_tried_with_an_unreachable_database():
    assert WITH_DATABASE.keys() | WITHOUT_DATABASE == set(VERBS)


@pytest.mark.parametrize("verb", WITH_DATABASE)
def test_an_unreachable_database_is_reported_in_one_line(verb, tmp_path):
    with zipfile.ZipFile(tmp_path / "backup.zip", "w") as backup:
        backup.writestr("manifest.json", "{}")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "cluster_dashboard.settings",
        "STATE_DIR": str(tmp_path / "state"),
        "DATABASE_URL": "postgres://somebody:secret@127.0.0.1:1/jobs",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
    (tmp_path / "state").mkdir()

    ran = subprocess.run(
        [sys.executable, ROOT / "gpuc.py", verb, *WITH_DATABASE[verb]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (ran.returncode, ran.stdout) == (3, ""), ran.stderr
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert "secret" not in ran.stderr
