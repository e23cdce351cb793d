from __future__ import annotations

import resource
import signal
import subprocess
import sys
from typing import Any

import pytest

from gpu_tasks.job_types import fault_injection
from gpu_tasks.job_types.fault_injection import FaultInjection, FaultMode
from scheduler.job_type import DeviceMemoryExhausted, JobFailed, ParamsInvalid, parse_params
from tests.project import ROOT
from tests.unit.builders import a_context

#: Runs the job in a process of its own, since it ends it.
SCRIPT = """
import os, signal, sys, threading
from gpu_tasks.job_types import fault_injection
from gpu_tasks.job_types.fault_injection import FaultInjection
from scheduler.job_type import parse_params
from tests.unit.builders import a_context

class TerminatedWhileItWaits(threading.Event):
    waits = 0

    def wait(self, timeout=None):
        type(self).waits += 1
        if self.waits > 1:
            os._exit(42)  # it lives on after SIGTERM
        os.kill(os.getpid(), signal.SIGTERM)

fault_injection.Event = TerminatedWhileItWaits
job = FaultInjection()
job.run(parse_params(job, {"mode": sys.argv[1], "after_seconds": 0}), a_context())
"""


def run(attempt: int = 1, seed: int = 11, **params: Any) -> dict[str, Any]:
    job = FaultInjection()
    return job.run(parse_params(job, {"after_seconds": 0} | params), a_context(attempt=attempt, seed=seed))


def exit_code_of(mode: FaultMode) -> int:
    return subprocess.run([sys.executable, "-c", SCRIPT, mode], cwd=ROOT, timeout=60, check=False).returncode


def test_raise_fails_as_the_jobs_own_error() -> None:
    with pytest.raises(JobFailed, match="injected error"):
        run(mode="raise")


def test_out_of_memory_is_real_and_stays_within_its_own_limit() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)

    with pytest.raises(DeviceMemoryExhausted, match="at the limit of this process"):
        run(mode="out_of_memory")

    assert resource.getrlimit(resource.RLIMIT_AS) == before


def test_out_of_memory_ends_where_the_system_enforces_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fault_injection.resource, "setrlimit", lambda which, limits: None)

    with pytest.raises(DeviceMemoryExhausted, match="does not enforce the limit"):
        run(mode="out_of_memory")


def test_exit_ends_the_process_with_a_code_of_its_own() -> None:
    assert exit_code_of(FaultMode.EXIT) == 3


def test_kill_ends_the_process_by_sigkill() -> None:
    assert exit_code_of(FaultMode.KILL) == -signal.SIGKILL


def test_segfault_ends_the_process_by_sigsegv() -> None:
    assert exit_code_of(FaultMode.SEGFAULT) == -signal.SIGSEGV


def test_gpu_memory_of_a_simulated_gpu_is_said_not_to_be_taken() -> None:
    with pytest.raises(DeviceMemoryExhausted, match="the GPU is simulated, so nothing was allocated"):
        run(mode="gpu_memory")


def test_hang_ignores_sigterm() -> None:
    assert exit_code_of(FaultMode.HANG) == 42


@pytest.mark.parametrize("mode", list(FaultMode))
def test_with_a_probability_of_zero_every_mode_survives(mode: FaultMode) -> None:
    assert run(mode=mode, probability=0) == {"survived": True}


def survives(attempt: int, seed: int) -> bool:
    try:
        return bool(run(attempt=attempt, seed=seed, probability=0.5)["survived"])
    except JobFailed:
        return False


def test_half_of_the_jobs_survive_a_probability_of_one_half() -> None:
    survived = sum(survives(attempt=1, seed=seed) for seed in range(1_000))

    assert abs(survived - 500) <= 4 * 250**0.5


def test_each_attempt_of_one_job_has_its_own_chance() -> None:
    survived = [survives(attempt=attempt, seed=11) for attempt in range(1, 30)]

    assert {True, False} == set(survived)
    assert survived == [survives(attempt=attempt, seed=11) for attempt in range(1, 30)]


def test_every_mode_has_a_strike() -> None:
    assert set(fault_injection.STRIKES) == set(FaultMode)


@pytest.mark.parametrize(
    ("field", "value"), [("mode", "explode"), ("probability", 1.01), ("probability", -0.1), ("after_seconds", -1)]
)
def test_a_value_out_of_bounds_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(ParamsInvalid) as caught:
        parse_params(FaultInjection(), {field: value})

    assert caught.value.field == f"params.{field}"
