"""The completion scripts: they have every verb and option, and the shells do with them what people expect."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from argparse import SUPPRESS
from functools import cache
from pathlib import Path

import pytest

from cluster_dashboard.console.completion import SHELLS
from cluster_dashboard.console.verbs import ALIASES, VERBS
from cluster_dashboard.management.commands.completion import parser_of
from tests.with_database import cli


@cache
def script(shell):
    ran = cli.run("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    return ran.out


def answer_of(shell, program):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    flags = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run([shell, *flags, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split("\t")[0] for line in done.stdout.splitlines()]


def in_bash(*words):
    """What a TAB behind the last word offers."""
    typed = " ".join(map(shlex.quote, words))
    return answer_of(
        "bash",
        f"{script('bash')}\nCOMP_WORDS=(gpuc {typed}) COMP_CWORD={len(words)}\n"
        'complete -p gpuc >/dev/null && _gpuc && printf "%s\\n" "${COMPREPLY[@]}"',
    )


def in_zsh(*words):
    """Everything that is offered; zsh itself selects what begins as the last word does."""
    typed = " ".join(map(shlex.quote, words))
    return answer_of(
        "zsh",
        # The parts of its completion system, which works in a line editor only.
        "compdef() { :; }; _files() { print FILES; }; compadd() { shift; print -l -- $@; }\n"
        "_describe() { [[ $1 == -o ]] && shift; print -l -- ${${(P)2}%%:*}; }\n"
        f"{script('zsh')}\nwords=(gpuc {typed}); CURRENT={len(words) + 1}\n_gpuc",
    )


def in_fish(*words):
    return answer_of("fish", f"{script('fish')}\ncomplete -C {shlex.quote(' '.join(['gpuc', *words]))}")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_every_verb_is_offered(shell, verb):
    options = {name for action in parser_of(verb)._actions if action.help != SUPPRESS for name in action.option_strings}

    offered = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}[shell](verb, "--")

    long = {name for name in options if name.startswith("--")}
    assert long <= set(offered)
    assert {name for name in offered if name.startswith("-")} <= options


@pytest.mark.parametrize("complete", [in_bash, in_zsh, in_fish])
def test_every_verb_and_alias_is_offered(complete):
    assert set(complete("")) >= {*VERBS, *ALIASES}


@pytest.mark.parametrize("complete", [in_bash, in_zsh, in_fish])
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("submit", "--priority", ""), {"critical", "high", "normal", "low"}),
        (("ps", "--state", ""), {"queued", "running", "succeeded", "failed", "cancelled"}),
        (("submit", ""), {"sleep", "compute", "matrix"}),
        (("rate", ""), {"light", "maximum", "pause", "resume"}),
        (("inject", ""), {"worker_hung", "job_error"}),
        (("chaos", "kill_worker", ""), {"freeze_broker", "kill_child"}),
        (("token", ""), {"create", "list", "revoke"}),
        (("token", "create", "ci", "--scope", ""), {"read", "submit", "control"}),
        (("rotate", ""), {"API_TOKEN"}),
        (("completion", ""), {"bash", "zsh", "fish"}),
    ],
)
def test_values_that_are_known_are_offered(complete, words, wanted):
    assert wanted <= set(complete(*words))


@pytest.mark.parametrize("complete", [in_bash, in_fish])
def test_only_what_begins_as_typed_is_offered(complete):
    assert complete("submit", "--priority", "hi") == ["high"]
    assert complete("sub") == ["submit"]


def test_bash_completes_a_value_behind_an_equals_sign():
    assert in_bash("submit", "--priority", "=") == ["critical", "high", "normal", "low"]
    assert in_bash("submit", "--priority", "=", "hi") == ["high"]


def test_a_value_that_nobody_knows_in_advance_is_left_to_the_user():
    assert in_bash("submit", "--count", "") == [""]
    assert in_zsh("submit", "--count", "") == []
    assert in_fish("submit", "--count", "") == []


def test_a_file_is_offered_where_one_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "to night.zip").touch()

    assert in_bash("restore", "to") == ["to night.zip"]
    assert in_bash("verify", "--html", "to") == ["to night.zip"]
    assert in_zsh("restore", "")[0] == "FILES"
    assert in_fish("restore", "to") == ["to night.zip"]
