"""Words and tables know nothing of where the data comes from."""

from __future__ import annotations

import ast

import pytest

from tests.project import ROOT

WORDS = ("text", "screen", "job_list", "gpu_list", "event_list", "cluster_view", "verbs", "exit_codes")
SOURCES = ("django", "redis", "scheduler.models", "scheduler.jobs", "scheduler.broker", "scheduler.loops")
ELSEWHERE = ("cluster_dashboard.live", "cluster_dashboard.api", "cluster_dashboard.console.source")


@pytest.mark.parametrize("name", WORDS)
def test_a_room_of_words_imports_no_source_of_data(name: str) -> None:
    found = imported(ast.parse((ROOT / "cluster_dashboard" / "console" / f"{name}.py").read_text()))

    assert not [module for module in found if module.startswith((*SOURCES, *ELSEWHERE)) and name != "screen"]
    assert not [module for module in found if module.startswith((*SOURCES[1:], *ELSEWHERE))]


def imported(tree: ast.Module) -> set[str]:
    """When the program runs: what is imported for types alone does not count."""
    found = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return {
        name
        for node in found
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
