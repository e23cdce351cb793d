"""The checks that Django runs before anything starts, for example at `manage.py up`."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, register

from scheduler.loops.generator import workload


@register()
def check_configuration(**_: Any) -> list[CheckMessage]:
    """Raises EnvironmentInvalid, which manage.py prints in one line, as for any other wrong setting."""
    workload()  # checks the job types too, which loads the catalogue
    return []
