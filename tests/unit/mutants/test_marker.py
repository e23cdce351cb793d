"""A test that is marked with a mutant runs on that mutant's copy, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import gpu_tasks.worker.watchdog
import scheduler.loops.relay
from tests.mutants.source import copy_source, mutant_of, source_without
from tests.project import ROOT

HERE = Path(__file__).relative_to(ROOT)


def test_this_is_the_source_as_it_is():
    assert mutant_of(ROOT) is None
    assert not (ROOT / ".mutant").exists()


@pytest.mark.mutant("no_ageing")
def test_a_marked_test_runs_on_the_patched_copy_of_product_and_tests():
    assert mutant_of(ROOT) == "no_ageing"
    assert ROOT in Path(scheduler.loops.relay.__file__).parents
    assert "_aged(tiers" not in Path(scheduler.loops.relay.__file__).read_text()
    # The rest is as it was.
    assert ROOT in Path(gpu_tasks.worker.watchdog.__file__).parents


def test_the_copy_differs_only_in_what_its_patch_changes():
    copy = source_without("no_ageing")

    differing = {
        path.relative_to(ROOT).as_posix()
        for room in ("scheduler", "gpu_tasks", "cluster_dashboard")
        for path in (ROOT / room).rglob("*.py")
        if path.read_bytes() != (copy / path.relative_to(ROOT)).read_bytes()
    }

    assert differing == {"scheduler/loops/relay.py"}


def test_a_failure_in_the_copy_fails_the_test_with_its_story(tmp_path: Path):
    """In a copy of its own, whose tests may be written."""
    copy_source(tmp_path)
    (tmp_path / "tests" / "unit" / "test_wrong.py").write_text(
        "import pytest\npytestmark = pytest.mark.mutant('no_watchdog')\n"
        "def test_harm():\n    assert 1 == 2, 'the harm is not there'\n"
        "def test_import():\n    import scheduler.nothing\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/unit/test_wrong.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, "2 failed" in done.stdout) == (1, True), done.stdout
    for words in ("with no_watchdog.patch", "the harm is not there", "ModuleNotFoundError"):
        assert words in done.stdout


@pytest.mark.mutant("no_watchdog")
@pytest.mark.parametrize("number", [7])
def test_parameters_arrive_there(number: int, request: pytest.FixtureRequest):
    assert request.node.name.endswith("[7]")
