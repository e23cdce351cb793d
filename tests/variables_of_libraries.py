"""The environment variables that the installed libraries read, found in their source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from flower.options import default_options
from psycopg import pq

from tests.project import ROOT

#: The libraries of the product, with what they need.
PINNED: Final = ROOT / "requirements" / "base.txt"

#: Code that is not part of the running library.
NOT_RUN: Final = {"tests", "test", "testing", "conftest.py", "testing.py", "pytest.py", "f2py"}


def read_by_libraries() -> dict[str, set[str]]:
    """Each variable, with the files that read it. Names that a library computes are found by asking it: Flower's
    options, libpq's parameters."""
    found: dict[str, set[str]] = {}
    for path, name in _literal():
        found.setdefault(name, set()).add(path)
    for option in default_options:
        found.setdefault(f"FLOWER_{option.upper().replace('-', '_')}", set()).add("flower/options.py")
    for parameter in pq.Conninfo.get_defaults():
        if parameter.envvar:
            found.setdefault(parameter.envvar.decode(), set()).add("libpq")
    return found


def _literal() -> Iterator[tuple[str, str]]:
    for name in re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==", PINNED.read_text(), re.MULTILINE):
        distribution = metadata.distribution(name)
        for file in distribution.files or ():
            if file.suffix == ".py" and not NOT_RUN & set(file.parts):
                source = Path(str(distribution.locate_file(file))).read_text(encoding="utf-8")
                if "environ" in source or "getenv" in source or "envvar" in source:
                    yield from ((str(file), variable) for variable in variables(source))


def variables(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Subscript(value=value, slice=ast.Constant(value=str(name))) if _is_environment(value):
                yield name
            case ast.Call(
                func=ast.Attribute(value=value, attr="get" | "pop" | "setdefault"),
                args=[ast.Constant(value=str(name)), *_],
            ) if _is_environment(value):
                yield name
            case ast.Call(
                func=ast.Attribute(attr="getenv") | ast.Name(id="getenv" | "_int_env" | "_float_env"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name
            case ast.keyword(arg="envvar", value=ast.Constant(value=str(name))):
                yield name
            case ast.Compare(left=ast.Constant(value=str(name)), comparators=[value]) if _is_environment(value):
                yield name


def _is_environment(node: Any) -> bool:
    """os.environ. WSGI calls the variables of one request `environ` and `self.environ`."""
    match node:
        case ast.Attribute(value=ast.Name(id=module), attr="environ" | "environb"):
            return module != "self"
    return False
