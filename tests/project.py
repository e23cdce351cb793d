"""Where the project is, for tests that read its files or start its programs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: The folder of manage.py.
ROOT: Final = Path(__file__).resolve().parents[1]
