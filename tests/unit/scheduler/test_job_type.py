from __future__ import annotations

from typing import Any, ClassVar

import pytest
from django.conf import settings
from pydantic import Field, ValidationError

from scheduler.catalogue import load_catalogue
from scheduler.job_type import (
    Catalogue,
    JobContext,
    JobParams,
    JobType,
    ParamsInvalid,
    UnknownJobType,
    parse_params,
)

BUILT_IN = ("sleep", "compute", "matrix", "fault_injection")


class EchoParams(JobParams):
    text: str = "hello"
    times: int = Field(default=1, ge=1, le=3)
    share: float = 0.5


class Echo:
    name: ClassVar[str] = "echo"
    summary: ClassVar[str] = "Says it again"
    Params = EchoParams
    accepts_random_faults: ClassVar[bool] = False

    def run(self, params: EchoParams, context: JobContext) -> dict[str, Any]:
        return {"said": params.text * params.times}

    def gpu_memory_mib(self, params: EchoParams) -> int:
        return 0

    def load(self, params: EchoParams) -> float:
        return params.share

    def duration_seconds(self, params: EchoParams) -> float:
        return 1.0


@pytest.fixture(scope="module")
def built_in() -> Catalogue:
    return load_catalogue(settings.JOB_TYPES)


def test_defaults_are_filled_in() -> None:
    assert parse_params(Echo(), {"times": 2}) == EchoParams(text="hello", times=2)


@pytest.mark.parametrize(
    ("values", "field", "told"),
    [
        ({"times": 4}, "params.times", "less than or equal to 3"),
        ({"times": "many"}, "params.times", "valid integer"),
        ({"text": 5}, "params.text", "valid string"),
        ({"share": float("inf")}, "params.share", "finite"),
        ({"share": float("nan")}, "params.share", "finite"),
        ({"tims": 2}, "params.tims", "echo has no such parameter; it accepts text, times, share"),
    ],
)
def test_a_wrong_parameter_is_refused_with_its_name_and_what_it_takes(
    values: dict[str, Any], field: str, told: str
) -> None:
    with pytest.raises(ParamsInvalid, match=told) as caught:
        parse_params(Echo(), values)

    assert caught.value.field == field


def test_parameters_do_not_change_while_a_job_runs() -> None:
    params = parse_params(Echo(), {})

    with pytest.raises(ValidationError, match="frozen"):
        params.times = 2


def test_the_catalogue_gives_a_type_by_its_name() -> None:
    echo = Echo()

    catalogue = Catalogue([echo])

    assert catalogue["echo"] is echo
    assert "echo" in catalogue
    assert list(catalogue) == ["echo"]


def test_an_unknown_type_is_refused_with_those_that_are_known() -> None:
    catalogue = Catalogue([Echo()])

    assert "eco" not in catalogue
    with pytest.raises(UnknownJobType, match="unknown job type 'eco'; must be one of echo") as caught:
        catalogue["eco"]
    assert caught.value.field == "type"


def test_two_types_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two job types are named 'echo'"):
        Catalogue([Echo(), Echo()])


def test_the_built_in_types_are_found_through_the_settings(built_in: Catalogue) -> None:
    assert set(BUILT_IN) <= set(built_in)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_parameter_of_a_built_in_type_has_a_default_and_a_description(built_in: Catalogue, name: str) -> None:
    job_type: JobType[Any] = built_in[name]

    fields = job_type.Params.model_fields
    assert job_type.summary
    assert {field for field, info in fields.items() if info.is_required() or not info.description} == set()


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_type_declares_its_costs_for_its_defaults(built_in: Catalogue, name: str) -> None:
    job_type: JobType[Any] = built_in[name]
    params = parse_params(job_type, {})

    assert 0 <= job_type.gpu_memory_mib(params) <= 16_384
    assert 0.0 <= job_type.load(params) <= 1.0
    assert 0.1 < job_type.duration_seconds(params) < 60
    assert job_type.accepts_random_faults is False
