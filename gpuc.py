#!/usr/bin/env python
"""gpuc VERB ..: the same commands as manage.py, for people. Installed as .venv/bin/gpuc and into the image."""

import sys

import manage
from cluster_dashboard.console.verbs import overview, unknown_verb


def main() -> None:
    sys.argv[0] = "gpuc"
    words = sys.argv[1:]
    if words in ([], ["help"], ["-h"], ["--help"]):
        print(overview())
        return
    problem = unknown_verb(words[0])
    if problem:
        print(f"gpuc: {problem}", file=sys.stderr)
        sys.exit(2)
    manage.main()


if __name__ == "__main__":
    main()
