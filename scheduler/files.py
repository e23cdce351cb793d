"""Files that are replaced as a whole: a reader, and a start after a crash, finds the old content or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def replace_file(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    with replacement(path, durable=durable) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacement(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """A new file, readable for its owner only, that replaces `path` when the block ends without an error.

    durable: its content is on disk before it gets the name. OSError if the disk is full: `path` is unchanged then.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    aside.unlink(missing_ok=True)  # of a process that was killed while it wrote, and had this pid
    try:
        with os.fdopen(os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
