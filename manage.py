#!/usr/bin/env python
"""The one door: every process and every command of the cluster starts here."""

import os
import sys

from cluster_dashboard.foreign_variables import remove_foreign


def main() -> None:
    # Not the settings of another Django project that were exported in this shell.
    os.environ["DJANGO_SETTINGS_MODULE"] = "cluster_dashboard.settings"
    remove_foreign(os.environ)
    from cluster_dashboard.console.dispatch import Dispatch
    from cluster_dashboard.console.exit_codes import EXIT_INTERRUPTED
    from scheduler.rules.configuration import EnvironmentInvalid

    try:
        Dispatch(sys.argv).execute()
    except EnvironmentInvalid as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
