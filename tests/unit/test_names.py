"""One name, one meaning: no two classes of one name, and module constants of one name have one value."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.project import ROOT

#: Classes that Django looks for by this name, one in each module of a command.
BY_CONVENTION: Final = {"Command"}

type Modules = Iterable[tuple[str, str]]
"""(path, source)"""


def product() -> Iterator[tuple[str, str]]:
    for room in ("scheduler", "gpu_tasks", "cluster_dashboard"):
        for path in Path(ROOT, room).rglob("*.py"):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def shared_class_names(modules: Modules) -> dict[str, list[str]]:
    """The classes at the top of a module whose name another module has too, with the modules."""
    found = defaultdict(list)
    for path, source in modules:
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef) and node.name not in BY_CONVENTION:
                found[node.name].append(path)
    return {name: paths for name, paths in found.items() if len(paths) > 1}


def ambiguous_constants(modules: Modules) -> dict[str, dict[str, list[str]]]:
    """NAME: {value: modules} of each constant with more than one value."""
    found = defaultdict(lambda: defaultdict(list))
    for path, source in modules:
        for name, value in constants(source):
            found[name][value].append(path)
    return {name: dict(values) for name, values in found.items() if len(values) > 1}


def constants(source: str) -> Iterator[tuple[str, str]]:
    for node in ast.parse(source).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if not isinstance(target, ast.Name) or not target.id.isupper() or target.id.startswith("_"):
            continue
        try:
            value = ast.literal_eval(node.value)
        except (ValueError, TypeError):
            continue  # computed: two modules may well compute it from different things
        yield target.id, repr(value)


def test_no_two_classes_have_one_name():
    assert shared_class_names(product()) == {}


def test_constants_of_one_name_have_one_value():
    assert ambiguous_constants(product()) == {}


def test_the_scan_finds_a_second_class_of_a_name():
    modules = [("a.py", "class Job: ...\nclass Meta: ..."), ("b.py", "class Job: ..."), ("c.py", "class Beat: ...")]

    assert shared_class_names(modules) == {"Job": ["a.py", "b.py"]}


@pytest.mark.parametrize("second", ["WAIT_SECONDS = 2", "WAIT_SECONDS: Final = 2"])
def test_the_scan_finds_a_second_value_of_a_constant(second):
    modules = [("a.py", "WAIT_SECONDS: Final = 1\nSAME = 'x'"), ("b.py", f"{second}\nSAME = 'x'\n_OWN = 2")]

    assert ambiguous_constants(modules) == {"WAIT_SECONDS": {"1": ["a.py"], "2": ["b.py"]}}
