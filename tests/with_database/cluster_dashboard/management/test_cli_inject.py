"""`gpuc inject`: what it prints once the fault is carried out."""

from __future__ import annotations

from typing import Any

import pytest

from cluster_dashboard.management.commands import inject
from tests.with_database.cli import run

pytestmark = pytest.mark.usefixtures("control", "gpus")


def test_json_names_the_gpu_and_the_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    carried_out: list[Any] = []
    monkeypatch.setattr(inject, "inject", lambda kind, gpu, *_args, **_options: carried_out.append((kind, gpu)))

    ran = run("inject", "worker_killed", "--gpu", 1, "--json")

    assert (ran.code, ran.err) == (0, "")
    assert ran.json == {"gpu": 1, "fault": "worker_killed"}
    assert carried_out == [("worker_killed", 1)]
