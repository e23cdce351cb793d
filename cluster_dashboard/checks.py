"""What `manage.py check --deploy` says of the cluster's own settings, beside Django's checks."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, register
from django.core.checks import Warning as Caution

from cluster_dashboard.environment import is_loopback


@register("security", deploy=True)
def check_doors(**_: Any) -> list[CheckMessage]:
    """Only where the ports are open to other machines."""
    environment = settings.ENVIRONMENT
    if is_loopback(environment.bind_host):
        return []
    found: list[CheckMessage] = []
    if environment.public_read:
        found.append(
            Caution(
                "PUBLIC_READ is true and BIND_HOST is not this machine alone: whoever reaches the port reads jobs, "
                "their parameters and results.",
                hint="Set PUBLIC_READ=false, unless the port is published to this machine alone or everybody may read.",
                id="gpu_cluster.W001",
            )
        )
    if environment.flower_control:
        found.append(
            Caution(
                "FLOWER_CONTROL is true and BIND_HOST is not this machine alone: Flower's password, which is sent "
                "without TLS, shuts workers down.",
                hint="Set FLOWER_CONTROL=false; the page and gpuc do the same.",
                id="gpu_cluster.W002",
            )
        )
    return found
