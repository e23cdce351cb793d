#!/usr/bin/env python
"""The one door: every process and every command of the cluster starts here."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cluster_dashboard.settings")
    from django.core.management import execute_from_command_line

    from scheduler.rules.configuration import EnvironmentInvalid

    try:
        execute_from_command_line(sys.argv)
    except EnvironmentInvalid as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
