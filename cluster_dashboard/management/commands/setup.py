"""`gpuc setup`: what a first start needs. Safe to repeat."""

from typing import Any

from django.core.management.base import BaseCommand

from cluster_dashboard.operations import first_start


class Command(BaseCommand):
    help = "Makes the state folder, the secrets, the tables, the admin user and the first rows. Safe to repeat."
    requires_system_checks = []

    def handle(self, *_args: Any, **_options: Any) -> None:
        first_start.begin()
        first_start.prepare_database()
        self.stdout.write("ready")
