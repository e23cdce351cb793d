"""The gpuc commands in the code blocks of the documentation are accepted by the verbs' own parsers."""

from __future__ import annotations

import re
import shlex

import pytest

from cluster_dashboard.console.verbs import ALIASES, VERBS
from cluster_dashboard.management.commands.completion import parser_of
from docs.tools.generate import pages
from tests.project import ROOT

#: Up to a pipe, a redirection, the end of `$(..)` or of the line.
TYPED = re.compile(r"(?:^|[ (])gpuc ([a-z][^|><)\n]*)", re.MULTILINE)

#: In the place of a folder that exists only there.
EXISTING = {"/fetched/host-2": "-"}


def commands() -> list[tuple[str, str]]:
    return [
        (page.relative_to(ROOT).as_posix(), typed.strip())
        for page in pages()
        for block in re.findall(r"```[a-z]*\n(.*?)```", page.read_text(), re.DOTALL)
        for typed in TYPED.findall(block)
    ]


@pytest.mark.parametrize(("page", "typed"), sorted(set(commands())))
def test_command_of_a_page_is_accepted(page, typed):
    verb, *arguments = (EXISTING.get(word, word) for word in shlex.split(typed, comments=True))
    verb = ALIASES.get(verb, verb)

    assert verb in VERBS
    if arguments and arguments != ["--help"]:
        parser_of(verb).parse_args(arguments)  # raises the error that the user would see
