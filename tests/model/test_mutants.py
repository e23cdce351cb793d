"""The model is worth something only if it notices what is missing: each mutant takes one protection from the source.

A mutant is a patch in `mutants/`; its first line says what it takes away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.model.patches import SourceDrifted, apply
from tests.model.running import DEADLINE_SECONDS, ROOT, Hunted, hunt

MUTANTS: Final = sorted((Path(__file__).parent / "mutants").glob("*.patch"))

#: Far more than any of them takes: the deadline decides.
ROUNDS: Final = 200


def copy_of_the_source(folder: Path) -> Path:
    """The product's rules, to be changed."""
    shutil.copytree(ROOT / "scheduler", folder / "scheduler", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def hunts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future]]:
    """The hunts that this run asks for, in the order of its tests, one for each core at a time."""
    of_mutants = [item for item in request.session.items if getattr(item, "originalname", "") == "test_the_model_finds"]

    def hunt_mutant(mutant: Path) -> Hunted:
        source = copy_of_the_source(tmp_path_factory.mktemp(mutant.stem))
        apply(mutant, source)
        found = hunt(rounds=ROUNDS, seed=0, source=source)
        assert found.scheduler == source / "scheduler"
        return found

    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    mutants = [item.callspec.params["mutant"] for item in of_mutants]
    yield {mutant.stem: pool.submit(hunt_mutant, mutant) for mutant in mutants}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda path: path.stem)
def test_the_model_finds(mutant: Path, hunts: dict[str, Future]):
    found: Hunted = hunts[mutant.stem].result()

    print(f"{found.seconds:.1f} s: {found.words}\n{found.story}")
    assert found.broken is not None, f"not found: {mutant.read_text().splitlines()[0]}"
    assert found.seconds < DEADLINE_SECONDS
    # A promise was broken; an error of the patched source itself would prove nothing.
    assert " " in found.broken, found.words


def test_the_mutants_that_were_promised_are_there():
    promised = {"no_fence", "double_claim", "no_relay", "commit_from_any_state", "no_exhaustion", "stale_beats"}

    assert promised <= {path.stem for path in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda path: path.stem)
def test_a_mutant_changes_lines_that_are_there_once(mutant: Path, tmp_path: Path):
    source = copy_of_the_source(tmp_path)
    before = {path: path.read_text() for path in source.rglob("*.py")}

    apply(mutant, source)

    assert sum(path.read_text() != text for path, text in before.items()) == 1
    with pytest.raises(SourceDrifted, match=mutant.name):
        apply(mutant, source)
