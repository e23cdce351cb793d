"""`gpuc drain`: no new job starts on these GPUs."""

from __future__ import annotations

from cluster_dashboard.console.draining import WaitingDrain


class Command(WaitingDrain):
    help = "Drains GPUs: a job that runs there continues, and no new one starts."
    examples = """\
  gpuc drain 0 2
  gpuc drain --all --wait --timeout 3600     before maintenance
  gpuc drain --all --json

exit status: 0 done; 1 jobs still run after --timeout (the GPUs stay drained); 2 bad input, nothing changed;
3 the database is unavailable; 130 Ctrl-C during the wait (the GPUs stay drained)"""
