"""The model is worth something only if it notices what is missing: each mutant takes one protection from the source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import pytest

from tests.model.running import DEADLINE_SECONDS, Hunted, hunt
from tests.mutants.patches import BEYOND_THE_MODEL, all_mutants, sentence
from tests.mutants.source import source_without

MUTANTS: Final = sorted(set(all_mutants()) - BEYOND_THE_MODEL)

#: Far more than any of them takes: the deadline decides.
ROUNDS: Final = 200


@pytest.fixture(scope="module")
def hunts(request: pytest.FixtureRequest) -> Iterator[dict[str, Future]]:
    """The hunts that this run asks for, in the order of its tests, one for each core at a time."""
    of_mutants = [item for item in request.session.items if getattr(item, "originalname", "") == "test_the_model_finds"]
    sources = {name: source_without(name) for name in (item.callspec.params["mutant"] for item in of_mutants)}

    def hunt_mutant(mutant: str) -> Hunted:
        found = hunt(rounds=ROUNDS, seed=0, source=sources[mutant])
        assert found.scheduler == sources[mutant] / "scheduler"
        return found

    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    yield {mutant: pool.submit(hunt_mutant, mutant) for mutant in sources}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_model_finds(mutant: str, hunts: dict[str, Future]):
    found: Hunted = hunts[mutant].result()

    print(f"{found.seconds:.1f} s: {found.words}\n{found.story}")
    assert found.broken is not None, f"not found: {sentence(mutant)}"
    assert found.seconds < DEADLINE_SECONDS
    # A promise was broken; an error of the patched source itself would prove nothing.
    assert " " in found.broken, found.words


def test_the_mutants_that_were_promised_are_there():
    promised = {"no_fence", "double_claim", "no_relay", "commit_from_any_state", "no_exhaustion", "stale_beats"}

    assert promised <= set(MUTANTS)
