"""Rich for the commands: consoles and tables that interpret nothing in the data, and cut nothing in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import IO, Any, Final, cast

from django.core.management.base import OutputWrapper
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster_dashboard.console.text import NOTHING, one_line

#: Of a state, whether a job's or a GPU's.
STATE_STYLE: Final = {
    "queued": "cyan",
    "running": "bold blue",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "busy": "bold blue",
    "idle": "green",
    "draining": "yellow",
    "hot": "yellow",
    "fault": "bold red",
    "offline": "red",
}

#: Columns of a pipe: the reader decides what to cut.
PIPE_WIDTH: Final = 10_000


def console(stream: OutputWrapper, *, no_color: bool = False) -> Console:
    stream.ending, stream.style_func = "", None  # rich writes parts of lines, in styles of its own
    return Console(
        file=cast(IO[str], stream),
        width=None if stream.isatty() else PIPE_WIDTH,
        no_color=no_color or None,
        markup=False,
        emoji=False,
        highlight=False,
    )


def data(value: Any, style: str = "") -> Text:
    """Text of which rich interprets nothing."""
    return Text(NOTHING if value is None or value == "" else one_line(str(value)), style=style)


def state(word: str | None) -> Text:
    return data(word, STATE_STYLE.get(word or "", ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[Text]], *, cut: str = "") -> Table:
    """`cut`: the column that is shortened on a narrow terminal. A name that starts with `>` aligns its column right."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        name = column.removeprefix(">")
        made.add_column(name, justify="left" if name == column else "right", no_wrap=name != cut)
    for row in rows:
        for cell in row:
            cell.no_wrap, cell.overflow = True, "ellipsis"
        made.add_row(*row)
    return made
