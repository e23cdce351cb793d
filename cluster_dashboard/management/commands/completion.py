"""`gpuc completion`: the script that completes verbs, options and their values in a shell."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management import load_command_class

from cluster_dashboard.console.arguments import OneOf
from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.console.completion import SHELLS, verbs_of
from cluster_dashboard.console.verbs import PROGRAM


class Command(ConsoleCommand):
    help = "Prints a script with which a shell completes verbs, options and their values."
    examples = """\
  gpuc completion bash > ~/.local/share/bash-completion/completions/gpuc
  gpuc completion zsh > "${fpath[1]}/_gpuc"
  gpuc completion fish > ~/.config/fish/completions/gpuc.fish
  source <(gpuc completion bash)     for this shell only

exit status: 0 printed, 2 bad input"""
    needs_database = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("shell", metavar="SHELL", type=OneOf((*SHELLS,)), help=", ".join(SHELLS))

    def answer(self, **options: Any) -> int:
        self.say(SHELLS[options["shell"]](verbs_of(parser_of)).rstrip("\n"))
        return 0


def parser_of(verb: str) -> ArgumentParser:
    return load_command_class("cluster_dashboard", verb).create_parser(PROGRAM, verb)
