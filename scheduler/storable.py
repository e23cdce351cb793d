"""Text and JSON that every database can store: PostgreSQL refuses NUL, and no database stores half a surrogate pair.

And the text of an exception, which may not even have one.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")


def storable_text(text: str) -> str:
    """With each NUL written as \\x00, and each unpaired surrogate as \\ud8xx."""
    if not _UNSTORABLE.search(text):
        return text
    # JSON joins the two halves of a pair that Python keeps apart.
    joined: str = json.loads(json.dumps(text))
    return _UNSTORABLE.sub(_escaped, joined)


def storable_json(value: Any) -> Any:
    """The same JSON value, with storable texts and keys."""
    match value:
        case str():
            return storable_text(value)
        case dict():
            return {storable_text(key): storable_json(each) for key, each in value.items()}
        case list():
            return [storable_json(each) for each in value]
        case _:
            return value


def error_text(error: BaseException) -> str:
    """Of an exception of a job or job type, whose __str__ is its author's code too."""
    try:
        return str(error)
    except BaseException as second:  # noqa: BLE001 (as above)
        return f"its message cannot be read, since __str__ raised {type(second).__name__}"


def _escaped(found: re.Match[str]) -> str:
    return "\\x00" if found[0] == "\0" else f"\\u{ord(found[0]):04x}"
