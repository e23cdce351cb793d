"""`gpuc release`: Ends the quarantine of GPUs, after a repair."""

from __future__ import annotations

from cluster_dashboard.console.draining import DrainingCommand


class Command(DrainingCommand):
    help = "Releases GPUs from quarantine, whatever they were quarantined for: they accept jobs again."
    examples = """\
  gpuc release 3
  gpuc release --all --json"""
    switch = {"quarantined": False}
    words = "released from quarantine"
