"""The exit codes of all verbs. 0: done."""

from typing import Final

#: A job failed, was cancelled or is unknown; what was asked for could not be done.
EXIT_FAILED: Final = 1
#: What was typed, or a setting, is wrong; nothing was changed. Of verify also: its records are incomplete.
EXIT_BAD_INPUT: Final = 2
#: The database, the broker or the cluster is unavailable.
EXIT_UNAVAILABLE: Final = 3
#: There is no room for more jobs now; nothing was changed.
EXIT_NO_ROOM: Final = 4
#: Ctrl-C, in the shells' words: 128 + SIGINT.
EXIT_INTERRUPTED: Final = 130
