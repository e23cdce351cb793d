"""`manage.py up`: the whole cluster on this machine, until Ctrl-C."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from cluster_dashboard import first_start


class Command(BaseCommand):
    help = "Runs the whole cluster on this machine: broker, scheduler, beat, GPU workers, web and Flower."
    requires_system_checks = []

    def handle(self, *_args: Any, **_options: Any) -> None:
        from cluster_dashboard.supervisor import guardian  # noqa: PLC0415 (no other command needs it)

        first_start.begin()
        # Once for all processes, and after the state folder is there: some checks open the database.
        self.check()
        sys.exit(guardian.main())
