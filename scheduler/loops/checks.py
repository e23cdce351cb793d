"""What Django's check, and with it `manage.py up`, looks at before anything starts."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, register

from scheduler.loops.generator import workload


@register()
def check_configuration(**_: Any) -> list[CheckMessage]:
    """Raises EnvironmentInvalid, which manage.py prints as its one line, like any other wrong setting."""
    workload()  # which checks itself against the catalogue, and so loads that too
    return []
