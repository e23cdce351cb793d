"""The job types of this installation, loaded once for each process."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from scheduler.job_type import Catalogue
from scheduler.own_types import load_catalogue


@cache
def catalogue() -> Catalogue:
    """From settings.JOB_TYPES, settings.JOB_TYPES_EXTRA and the entry points of installed packages."""
    return load_catalogue(settings.JOB_TYPES, settings.JOB_TYPES_EXTRA)
