"""`gpuc drain`: Drains GPUs: a job that runs there continues, and no new one starts."""

from __future__ import annotations

from cluster_dashboard.console.draining import DrainingCommand


class Command(DrainingCommand):
    help = "Drains GPUs: a job that runs there continues, and no new one starts."
    examples = """\
  gpuc drain 0 2
  gpuc drain --all --json"""
    drained = True
