"""Where the lines of all processes meet: the terminal and one log file for each process."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cluster_dashboard.logs import LineFormatter
from cluster_dashboard.operations.supervisor.log_file import LogFile
from cluster_dashboard.operations.supervisor.terminal import Terminal, decorate

#: The supervisor's own name among the processes.
OWN_NAME: Final = "cluster"

#: The broker's advice about the kernel's settings: it would alarm people who start a cluster on a laptop.
ONLY_IN_FILES: Final = ("Memory overcommit must be enabled!",)


@dataclass(slots=True)
class Output:
    """json: JSON lines are printed unchanged, other lines (the broker's, a traceback) are wrapped in JSON."""

    folder: Path
    json: bool
    terminal: Terminal = field(default_factory=Terminal)
    _files: dict[str, LogFile] = field(default_factory=dict)

    @property
    def color(self) -> bool:
        return not self.json and self.terminal.is_tty

    def line(self, name: str, line: str) -> None:
        if name not in self._files:
            self._files[name] = LogFile(path=self.folder / f"{name}.log")
        self._files[name].write(line)
        if not line.strip() or any(words in line for words in ONLY_IN_FILES):
            return
        self.terminal.print(_as_json(name, line) if self.json else decorate(name, line, color=self.color))

    def close_files(self) -> None:
        for file in self._files.values():
            file.close()


class OutputHandler(logging.Handler):
    """The supervisor's own records, as lines among the others."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output
        self.setFormatter(LineFormatter(json=output.json, color=False))

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).splitlines():
            self._output.line(OWN_NAME, line)


def _as_json(name: str, line: str) -> str:
    if line.startswith("{") and line.endswith("}"):
        return line
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"at": at, "level": "INFO", "component": name, "event": line})
