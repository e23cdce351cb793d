"""One module reads the environment; the few that write to it say why."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.project import ROOT

READER: Final = "cluster_dashboard/environment.py"

#: Puts the whole environment back as it was before a job; it looks at no variable.
RESTORER: Final = "gpu_tasks/processes/state_parts.py"

#: Who sets a variable of its own process, and for which library.
WRITERS: Final = {
    "scheduler/celery.py": "Celery imports it first: Django has to find its settings",
    "cluster_dashboard/asgi.py": "a web server imports it first: Django has to find its settings",
    "cluster_dashboard/operations/supervisor/warm.py": "Celery's checks of Django's settings are run once, by `up`",
    "cluster_dashboard/operations/processes.py": "CUDA and the BLAS libraries are configured by variables only",
    RESTORER: "what a job changed must not reach the next one",
    "gpu_tasks/worker/main.py": "CUDA is bound to one part of a partitioned GPU by a variable only",
}


def uses(source: str) -> Iterator[tuple[int, str]]:
    """(line, "read" or "write") of each use of the environment."""
    tree = ast.parse(source)
    writes: set[ast.AST] = set()
    for node in ast.walk(tree):
        is_stored = isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
        if is_stored or (isinstance(node, ast.Attribute) and node.attr == "setdefault"):
            writes.add(node.value)
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from ((node.lineno, "read") for name in node.names if name.name in {"environ", "getenv"})
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv", "getenvb"}:
            yield node.lineno, "write" if node in writes else "read"


def product() -> list[Path]:
    return [path for room in ("scheduler", "gpu_tasks", "cluster_dashboard") for path in (ROOT / room).rglob("*.py")]


def using(kind: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in product()
        if kind in {each for _, each in uses(path.read_text(encoding="utf-8"))}
    }


def test_one_module_reads_the_environment():
    assert using("read") == {READER, RESTORER}


def test_only_the_listed_modules_write_to_it():
    assert using("write") == set(WRITERS)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nos.environ['A']", ["read"]),
        ("import os\nos.environ.get('A')", ["read"]),
        ("import os\nos.getenv('A')", ["read"]),
        ("from os import environ", ["read"]),
        ("import os\nstart(env={**os.environ})", ["read"]),
        ("import os\nos.environ['A'] = 'b'", ["write"]),
        ("import os\nos.environ.setdefault('A', 'b')", ["write"]),
    ],
)
def test_the_scan_distinguishes_reads_from_writes(source, found):
    assert [kind for _, kind in uses(source)] == found
