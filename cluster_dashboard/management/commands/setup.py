"""`gpuc setup`: what a first start needs. Safe to repeat."""

from __future__ import annotations

from typing import Any

from cluster_dashboard.console.command import ConsoleCommand
from cluster_dashboard.operations import first_start


class Command(ConsoleCommand):
    help = "Creates the state folder, the secrets, the tables, the admin user and the first rows. Safe to repeat."
    examples = """\
  gpuc setup
  STATE_DIR=/srv/gpu-cluster gpuc setup

exit status: 0 done, 2 a wrong setting, 3 the database is unavailable"""
    needs_database = False
    log_level = None

    def answer(self, **_options: Any) -> int:
        first_start.begin()
        first_start.prepare_database()
        self.say("ready")
        return 0
