#!/usr/bin/env python
"""gpuc VERB ..: the same commands as manage.py, for people. Installed as .venv/bin/gpuc and into the image."""

import sys
from pathlib import Path

import manage
from cluster_dashboard.console.verbs import ALIASES, HELP, PROGRAM, overview


def main() -> None:
    words = sys.argv[1:]
    # Without Django, which takes half a second to start.
    if not words or (words[0] in HELP and len(words) == 1):
        print(overview())
    elif words == ["--version"]:
        print(f"{PROGRAM} {version()}")
    else:
        if words[0] == "help":
            words = [*words[1:], "--help"]
        sys.argv = [PROGRAM, ALIASES.get(words[0], words[0]), *words[1:]]
        manage.main()


def version() -> str:
    import tomllib

    return str(tomllib.loads(Path(__file__).with_name("pyproject.toml").read_text())["project"]["version"])


if __name__ == "__main__":
    main()
