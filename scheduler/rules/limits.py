"""The limits that a job carries: their defaults, and the range that people may ask for."""

from __future__ import annotations

from typing import Final

#: A job that runs for longer is ended as timed out, unless its submission says otherwise.
TIME_LIMIT_SECONDS: Final = 300
TIME_LIMIT_MAXIMUM_SECONDS: Final = 3000

#: Charged failures after which a job fails for good, unless its submission says otherwise.
FAILURE_LIMIT: Final = 3
FAILURE_LIMIT_MAXIMUM: Final = 100
