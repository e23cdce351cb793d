"""`gpuc undrain`: Ends the draining of GPUs: they accept jobs again."""

from __future__ import annotations

from cluster_dashboard.console.draining import DrainingCommand


class Command(DrainingCommand):
    help = "Ends the draining of GPUs: they accept jobs again."
    examples = """\
  gpuc undrain 0 2
  gpuc undrain --all --json"""
    switch = {"drained": False}
    words = "accepts jobs again"
