"""The job types of this installation, loaded once for each process."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from scheduler.job_type import Catalogue, load_catalogue


@cache
def catalogue() -> Catalogue:
    """From settings.JOB_TYPES and the entry points of installed packages."""
    return load_catalogue(settings.JOB_TYPES)
