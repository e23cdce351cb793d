from __future__ import annotations

from itertools import pairwise

import pytest

from gpu_tasks.job_types import sleep
from gpu_tasks.job_types.sleep import Sleep
from scheduler.job_type import ParamsInvalid, parse_params
from tests.unit.builders import a_context


def test_zero_seconds_is_a_job_without_work() -> None:
    told: list[float] = []

    result = Sleep().run(parse_params(Sleep(), {"seconds": 0}), a_context(progress=told.append))

    assert result["slept_seconds"] < 0.5
    assert told == [1.0]


def test_it_waits_and_its_progress_rises_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleep, "STEP_SECONDS", 0.005)
    told: list[float] = []

    result = Sleep().run(parse_params(Sleep(), {"seconds": 0.05}), a_context(progress=told.append))

    assert result["slept_seconds"] >= 0.05
    assert told[-1] == 1.0
    assert len(told) > 2
    assert all(0.0 <= earlier <= later <= 1.0 for earlier, later in pairwise(told))


def test_it_declares_what_its_parameters_say() -> None:
    params = parse_params(Sleep(), {"memory_mib": 0, "load": 0.25})

    assert Sleep().gpu_memory_mib(params) == 0
    assert Sleep().load(params) == 0.25


@pytest.mark.parametrize(
    ("field", "value"),
    [("seconds", -0.1), ("seconds", 86_401), ("seconds", "soon"), ("memory_mib", -1), ("load", 1.1)],
)
def test_a_value_out_of_bounds_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(ParamsInvalid) as caught:
        parse_params(Sleep(), {field: value})

    assert caught.value.field == f"params.{field}"
