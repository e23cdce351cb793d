"""The model is worth something only if it notices what is missing: each mutant takes one protection from the source.

A mutant is a patch in `mutants/`; its first line says what it takes away.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from tests.model.patches import SourceDrifted, apply
from tests.model.running import DEADLINE_SECONDS, ROOT, hunt

MUTANTS: Final = sorted((Path(__file__).parent / "mutants").glob("*.patch"))

#: Far more than any of them takes: the deadline decides.
ROUNDS: Final = 200


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The product's rules, to be changed."""
    shutil.copytree(ROOT / "scheduler", tmp_path / "scheduler", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda path: path.stem)
def test_the_model_finds(mutant: Path, source: Path, record_property):
    apply(mutant, source)

    found = hunt(rounds=ROUNDS, seed=0, source=source)

    record_property("seconds", found.seconds)
    assert found.scheduler == source / "scheduler"
    assert found.broken is not None, f"not found: {mutant.read_text().splitlines()[0]}"
    assert found.seconds < DEADLINE_SECONDS
    # A promise was broken; an error of the patched source itself would prove nothing.
    assert " " in found.broken, found.words


def test_the_mutants_that_were_promised_are_there():
    promised = {"no_fence", "double_claim", "no_relay", "commit_from_any_state", "no_exhaustion", "stale_beats"}

    assert promised <= {path.stem for path in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda path: path.stem)
def test_a_mutant_changes_lines_that_are_there_once(mutant: Path, source: Path):
    before = {path: path.read_text() for path in source.rglob("*.py")}

    apply(mutant, source)

    assert sum(path.read_text() != text for path, text in before.items()) == 1
    with pytest.raises(SourceDrifted, match=mutant.name):
        apply(mutant, source)
