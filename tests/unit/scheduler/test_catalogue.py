"""Job types from outside: an installed package, JOB_TYPES_EXTRA, and what is said about wrong ones."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from scheduler import catalogue as own_types
from scheduler.catalogue import JobTypeInvalid, completed, load_catalogue
from scheduler.job_type import JobContext, JobParams, JobType, ParamsInvalid, SimpleJobType, parse_params
from scheduler.rules.configuration import EnvironmentInvalid
from tests.project import ROOT
from tests.unit.builders import a_context

SAMPLE = ROOT / "tests" / "sample_job_types"
SLEEP = "gpu_tasks.job_types.sleep:Sleep"

#: What the README puts in front of the code that it shows.
MARK = "<!-- tests/sample_job_types/countdown.py -->"


# --- an installed package -------------------------------------------------------------------------


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample package in a folder of its own, put there by pip, which needs no network for it."""
    source, target = tmp_path_factory.mktemp("sample") / "source", tmp_path_factory.mktemp("installed")
    shutil.copytree(SAMPLE, source)
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q")
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return target


def in_a_cluster(code: str, *, path: Path, variables: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a process that has `path` among its packages, with the product's settings."""
    start = "import django, json, os; django.setup();"
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "JOB_TYPES_EXTRA"}}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", start + code],
        cwd=ROOT,
        env={
            **clean,
            "DJANGO_SETTINGS_MODULE": "cluster_dashboard.settings",
            "PYTHONPATH": f"{ROOT}:{path}",
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def result_of(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_installed_package_is_in_the_catalogue(installed: Path) -> None:
    code = "from scheduler.catalogue import catalogue; print(json.dumps(sorted(catalogue())))"

    assert result_of(in_a_cluster(code, path=installed)) == [
        "compute",
        "countdown",
        "fault_injection",
        "matrix",
        "sleep",
    ]


def test_its_jobs_are_checked_at_admission_with_their_costs(installed: Path) -> None:
    code = """
from scheduler.jobs.admission import job_request
from scheduler.job_type import ParamsInvalid
request = job_request(type="countdown", params={"steps": 3}, source="api")
try:
    job_request(type="countdown", params={"steps": 0}, source="api")
except ParamsInvalid as error:
    print(json.dumps([request.params, request.gpu_memory_mib, request.load, request.accepts_faults, str(error)]))
"""

    assert result_of(in_a_cluster(code, path=installed)) == [
        {"steps": 3},
        1024,
        1.0,
        False,
        "params.steps: Input should be greater than or equal to 1",
    ]


def test_its_jobs_run_in_the_workers_runner(installed: Path) -> None:
    code = """
from dataclasses import fields
from types import SimpleNamespace
from gpu_tasks.processes.start_state import StartState
from gpu_tasks.worker import tasks
from gpu_tasks.worker.runner import Runner
from scheduler.celery import app
from scheduler.broker.hints import task_name
from scheduler.jobs.lifecycle import Claimed
shares = []
parts = {field.name: None for field in fields(Runner)}
parts |= {"gpu": 2, "has_cuda": False, "start_state": StartState()}
runner = Runner(**parts | {"held": SimpleNamespace(progress=shares.append)})
tasks.register(runner)
claimed = Claimed(job_id=7, attempt=1, type="countdown", priority="normal", params={"steps": 4}, source="api",
                  accepts_faults=False, gpu_memory_mib=0, load=1.0, time_limit_seconds=300)
print(json.dumps([task_name("countdown") in app.tasks, runner._result(claimed), shares]))
"""

    assert result_of(in_a_cluster(code, path=installed)) == [True, {"counted": 4}, [0.25, 0.5, 0.75, 1.0]]


def test_the_setting_names_a_module_that_is_no_package(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text((SAMPLE / "countdown.py").read_text())
    code = "from scheduler.catalogue import catalogue; print(json.dumps('countdown' in catalogue()))"

    assert result_of(in_a_cluster(code, path=tmp_path, variables={"JOB_TYPES_EXTRA": "mine:Countdown"})) is True


def test_a_start_with_a_wrong_setting_ends_in_one_line() -> None:
    said = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "cluster_dashboard.settings", "JOB_TYPES_EXTRA": "no_such:Thing"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert said.returncode == 2
    assert said.stderr == (
        "JOB_TYPES_EXTRA: 'no_such:Thing': cannot be imported: ModuleNotFoundError: No module named 'no_such'\n"
    )


def test_the_readme_shows_the_sample_as_it_is() -> None:
    readme = (ROOT / "README.md").read_text()

    shown = re.search(rf"{re.escape(MARK)}\n```python\n(.*?)```", readme, re.DOTALL)
    assert shown, f"README.md has no python block after {MARK}"
    assert shown[1] == (SAMPLE / "countdown.py").read_text()
    assert '[project.entry-points."gpu_cluster.job_types"]\ncountdown = "countdown:Countdown"\n' in readme


# --- what a type may be ---------------------------------------------------------------------------


class Train(SimpleJobType):
    name: ClassVar[str] = "train"
    summary: ClassVar[str] = "Trains"

    def run(self, params: Any, context: JobContext) -> dict[str, Any]:
        return {"params": repr(params)}


def made(*, source: str = "here", **attributes: Any) -> JobType[Any]:
    """The type Train with some attributes of its own, as the catalogue would hold it."""
    return completed(type("Train", (Train,), attributes)(), source)


@dataclasses.dataclass
class Steps:
    steps: Annotated[int, Field(ge=1)] = 10
    note: str = dataclasses.field(default="", metadata={"description": "For people"})
    layers: list[int] = dataclasses.field(default_factory=lambda: [1, 2])

    def __post_init__(self) -> None:
        if self.note == "secret":
            raise ValueError("not that note")

    def total(self) -> int:
        return self.steps * len(self.layers)


class StepsModel(BaseModel):
    steps: int = Field(default=10, ge=1)
    share: float = 0.5


@pydantic_dataclass
class StepsPydantic:
    steps: int = Field(default=10, ge=1)


@pytest.mark.parametrize("params", [Steps, StepsModel, StepsPydantic])
@pytest.mark.parametrize(
    ("values", "told"),
    [({"steps": 0}, "params.steps: .* greater than or equal to 1"), ({"step": 1}, "no such parameter")],
)
def test_a_model_and_a_dataclass_are_equally_strict(params: type, values: dict[str, Any], told: str) -> None:
    job_type = made(Params=params)

    assert parse_params(job_type, {"steps": 3}).model_dump(mode="json")["steps"] == 3
    with pytest.raises(ParamsInvalid, match=told):
        parse_params(job_type, values)


@pytest.mark.parametrize("params", [Steps, StepsModel, StepsPydantic])
def test_run_gets_an_object_of_its_own_class(params: type) -> None:
    seen: list[Any] = []
    job_type = made(Params=params, run=lambda self, params, context: seen.append(params) or {})

    job_type.run(parse_params(job_type, {"steps": 2}), a_context())

    assert isinstance(seen[0], params)


def test_a_dataclass_keeps_defaults_descriptions_methods_and_its_own_check() -> None:
    job_type = made(Params=Steps, duration_seconds=lambda self, params: params.total())

    values = parse_params(job_type, {"steps": 4})

    assert values.model_dump(mode="json") == {"steps": 4, "note": "", "layers": [1, 2]}
    assert job_type.duration_seconds(values) == 8
    assert job_type.Params.model_json_schema()["properties"]["note"]["description"] == "For people"
    with pytest.raises(ParamsInvalid, match="not that note"):
        parse_params(job_type, {"note": "secret"})


def test_no_infinity_comes_in_through_a_model_of_their_own() -> None:
    with pytest.raises(ParamsInvalid, match=r"params\.share: .*finite"):
        parse_params(made(Params=StepsModel), {"share": float("inf")})


def test_models_of_two_types_have_names_of_their_own() -> None:
    names = {made(name=name, Params=StepsModel).Params.__name__ for name in ("train", "fine_tune")}

    assert names == {"TrainParams", "FineTuneParams"}


def test_a_type_without_parameters_takes_none() -> None:
    job_type = made()

    assert parse_params(job_type, {}).model_dump() == {}
    with pytest.raises(ParamsInvalid, match="no such parameter"):
        parse_params(job_type, {"steps": 1})


def test_a_plain_class_gets_the_costs_that_it_does_not_give() -> None:
    class Plain:
        name = "plain"
        summary = "No base class"
        Params = JobParams

        def run(self, params: JobParams, context: JobContext) -> dict[str, Any]:
            return {}

        def load(self, params: JobParams) -> float:
            return 0.25

    job_type = completed(Plain(), "here")
    params = parse_params(job_type, {})

    assert job_type.accepts_random_faults is False
    assert (job_type.gpu_memory_mib(params), job_type.load(params), job_type.duration_seconds(params)) == (
        1024,
        0.25,
        30.0,
    )


@pytest.mark.parametrize(
    ("cost", "value", "told"),
    [
        ("load", 1.5, r"train\.load returned 1\.5; expected a share from 0\.0 to 1\.0"),
        ("gpu_memory_mib", -1, r"train\.gpu_memory_mib returned -1\.0; expected MiB, 0 or more"),
        ("duration_seconds", float("nan"), r"train\.duration_seconds returned nan; expected seconds"),
        ("duration_seconds", "long", r"train\.duration_seconds failed: ValueError"),
    ],
)
def test_a_cost_that_makes_no_sense_is_refused_at_submission(cost: str, value: Any, told: str) -> None:
    job_type = made(**{cost: lambda self, params: value})

    with pytest.raises(ParamsInvalid, match=told):
        getattr(job_type, cost)(parse_params(job_type, {}))


# --- what is said about a wrong one ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        ({"name": "Train Model"}, "here: name is 'Train Model'; it must be 1 to 60 of a-z"),
        ({"name": None}, "here: name is None"),
        ({"summary": ""}, "here: summary is ''; it must be a short text"),
        ({"run": None}, r"here: has no method run\(self, params, context\)"),
        ({"run": SimpleJobType.run}, "here: has no method run"),
        ({"Params": dict}, "here: Params cannot be used: .* it must be a pydantic model or a dataclass"),
        ({"Params": {"steps": 1}}, "here: Params cannot be used"),
        ({"accepts_random_faults": "no"}, "here: accepts_random_faults is 'no'; it must be True or False"),
    ],
)
def test_an_incomplete_type_is_refused_with_what_is_wrong(attributes: dict[str, Any], told: str) -> None:
    with pytest.raises(JobTypeInvalid, match=told):
        made(**attributes)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("no_such_module:Thing", "ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "scheduler.rules.naming:Nothing",
            "AttributeError: module 'scheduler.rules.naming' has no attribute 'Nothing'",
        ),
        ("scheduler.rules.naming:job_name", "is not a class, but function"),
        ("scheduler.job_type:ParamsInvalid", "cannot be created: TypeError"),
        ("scheduler.rules.states:Priority", "cannot be created: TypeError"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_the_variable(path: str, told: str) -> None:
    with pytest.raises(EnvironmentInvalid, match=rf"^JOB_TYPES_EXTRA: '{path}': .*{re.escape(told)}"):
        load_catalogue([SLEEP], [path])


@pytest.fixture
def entry_point(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets the one entry point that installed packages are said to have."""

    def have(name: str, value: str) -> None:
        point = EntryPoint(name=name, value=value, group=own_types.ENTRY_POINT_GROUP)
        monkeypatch.setattr(own_types, "entry_points", lambda group: [point] if group == point.group else [])

    return have


def test_a_broken_package_is_named_by_its_entry_point(entry_point: Any) -> None:
    entry_point("train", "no_such_package:Train")

    told = (
        r"^entry point 'train' \(no_such_package:Train\) in gpu_cluster.job_types: cannot be imported: ModuleNotFound"
    )
    with pytest.raises(JobTypeInvalid, match=told):
        load_catalogue([SLEEP])


def test_an_entry_point_brings_its_type(entry_point: Any) -> None:
    entry_point("train", f"{__name__}:Train")

    assert list(load_catalogue([SLEEP])) == ["sleep", "train"]


def test_a_name_that_is_taken_is_refused_with_both_places(entry_point: Any) -> None:
    entry_point("train", f"{__name__}:Train")

    told = rf"entry point 'train' .*: its name 'train' is already used by JOB_TYPES_EXTRA: '{__name__}:Train'"
    with pytest.raises(JobTypeInvalid, match=told):
        load_catalogue([SLEEP], [f"{__name__}:Train"])


def test_random_faults_hit_a_type_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from scheduler.job_type import Catalogue
    from scheduler.jobs import admission

    types = Catalogue([made(name="brave", accepts_random_faults=True), made(name="shy")])
    monkeypatch.setattr(admission, "catalogue", lambda: types)

    def accepts(name: str, **fields: Any) -> bool:
        return admission.job_request(type=name, source=admission.Source.API, **fields).accepts_faults

    assert accepts("brave")
    assert not accepts("shy")
    assert accepts("shy", accepts_faults=True)
