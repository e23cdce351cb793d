"""Every scenario by its name, in the order in which `--all` plays them."""

from __future__ import annotations

from typing import Final

from cluster_dashboard.chaos import brokers, databases, deaths, disks, hangs, messages, poison, storms
from cluster_dashboard.chaos.scenario import Scenario

SCENARIOS: Final[dict[str, Scenario]] = {
    scenario.name: scenario
    for family in (deaths, hangs, poison, messages, storms, brokers, databases, disks)
    for scenario in family.SCENARIOS
}
