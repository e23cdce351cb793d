"""From the typed verb to its command: Django's own way, with our verbs first in its help."""

from __future__ import annotations

import sys
from textwrap import fill
from typing import Any, Final

from django.core.management import ManagementUtility, get_commands
from django.core.management.base import BaseCommand

from cluster_dashboard.console.exit_codes import EXIT_BAD_INPUT
from cluster_dashboard.console.verbs import PROGRAM, VERBS, overview, unknown_verb

_LINES: Final[dict[str, Any]] = {
    "initial_indent": "  ",
    "subsequent_indent": "  ",
    "width": 80,
    "break_on_hyphens": False,
}


class Dispatch(ManagementUtility):
    def main_help_text(self, commands_only: bool = False) -> str:
        if commands_only:
            return super().main_help_text(commands_only)
        others = sorted(name for name in get_commands() if name not in VERBS)
        return f"{overview()}\n\nDjango's own verbs:\n{fill(' '.join(others), **_LINES)}"

    def fetch_command(self, subcommand: str) -> BaseCommand:
        known = get_commands()
        if subcommand not in known:
            print(f"{PROGRAM}: {unknown_verb(subcommand, known)}", file=sys.stderr)
            sys.exit(EXIT_BAD_INPUT)
        return super().fetch_command(subcommand)
