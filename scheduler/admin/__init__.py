"""The admin: read-only history, and GPUs and control to change. Every change goes through lifecycle and controls."""

from django.contrib import admin

from scheduler.admin.cluster import CheckpointAdmin, ClusterEventAdmin, ControlAdmin, GpuAdmin
from scheduler.admin.failure_rates import FailureRatesAdmin
from scheduler.admin.jobs import JobAdmin
from scheduler.admin.users import ClusterUserAdmin

__all__ = [
    "CheckpointAdmin",
    "ClusterEventAdmin",
    "ClusterUserAdmin",
    "ControlAdmin",
    "FailureRatesAdmin",
    "GpuAdmin",
    "JobAdmin",
]

admin.site.site_header = "GPU cluster"
admin.site.site_title = "GPU cluster"
admin.site.index_title = "Jobs, GPUs and control"
