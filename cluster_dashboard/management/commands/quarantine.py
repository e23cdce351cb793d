"""`gpuc quarantine`: Gives GPUs no jobs until they are released."""

from __future__ import annotations

from cluster_dashboard.console.draining import DrainingCommand


class Command(DrainingCommand):
    help = "Quarantines GPUs that seem to be broken: they start no new job until they are released."
    examples = """\
  gpuc quarantine 3
  gpuc quarantine 0 2 --json"""
    switch = {"quarantined": True}
    words = "quarantined: starts no new job until it is released"
