from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_tasks.gpus.heat import HeatFile
from gpu_tasks.gpus.simulated import MEMORY_BASE_MIB, MEMORY_TOTAL_MIB, POWER_IDLE_W, POWER_LIMIT_W, SimulatedGpu
from scheduler.rules.gpu import GpuHealth, GpuLoad, GpuSample
from scheduler.rules.placement import TEMPERATURE_LIMIT_C

FULL_LOAD = GpuLoad(compute_share=1.0, memory_mib=30_000)


def a_gpu(index: int = 0, seed: int = 5) -> SimulatedGpu:
    return SimulatedGpu(index=index, seed=seed)


def readings(gpu: SimulatedGpu, load: GpuLoad | None, first: int, last: int) -> list[GpuSample]:
    """One reading a second."""
    return [gpu.sample(load, float(second)) for second in range(first, last)]


def temperature(sample: GpuSample) -> float:
    assert sample.temperature_c is not None
    return sample.temperature_c


def test_the_same_seed_index_and_times_give_the_same_readings() -> None:
    assert readings(a_gpu(), FULL_LOAD, 0, 50) == readings(a_gpu(), FULL_LOAD, 0, 50)


def test_another_gpu_or_another_seed_gives_other_readings() -> None:
    one = readings(a_gpu(), FULL_LOAD, 0, 50)

    assert one != readings(a_gpu(index=1), FULL_LOAD, 0, 50)
    assert one != readings(a_gpu(seed=6), FULL_LOAD, 0, 50)


def test_a_gpu_without_a_job_is_idle() -> None:
    for sample in readings(a_gpu(), None, 0, 50):
        assert sample.health is GpuHealth.HEALTHY
        assert sample.utilization_percent == 0.0
        assert sample.memory_used_mib == 0
        assert sample.power_w == pytest.approx(POWER_IDLE_W, rel=0.06)
        assert temperature(sample) == pytest.approx(34, abs=3.5)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_readings_follow_the_job(share: float) -> None:
    samples = readings(a_gpu(), GpuLoad(compute_share=share, memory_mib=12_345), 0, 200)

    utilization = sum(sample.utilization_percent or 0 for sample in samples) / len(samples)
    assert utilization == pytest.approx(share * 100, abs=2)
    power = sum(sample.power_w or 0 for sample in samples) / len(samples)
    assert power == pytest.approx(POWER_IDLE_W + share * (POWER_LIMIT_W - POWER_IDLE_W), rel=0.03)
    assert all(sample.memory_used_mib == 12_345 + MEMORY_BASE_MIB for sample in samples)


def test_a_gpu_of_another_size_says_so_everywhere() -> None:
    gpu = SimulatedGpu(index=0, seed=5, memory_total_mib=40_960)

    [sample] = readings(gpu, GpuLoad(compute_share=1.0, memory_mib=60_000), 0, 1)

    assert (gpu.identity().memory_total_mib, gpu.identity().name) == (40_960, "Simulated GPU 40GB")
    assert (sample.memory_total_mib, sample.memory_used_mib) == (40_960, 40_960)


def test_readings_drop_when_the_job_is_gone() -> None:
    gpu = a_gpu()
    readings(gpu, FULL_LOAD, 0, 50)

    after = gpu.sample(None, 50.0)

    assert (after.utilization_percent, after.memory_used_mib) == (0.0, 0)
    assert after.power_w == pytest.approx(POWER_IDLE_W, rel=0.06)


def test_a_job_without_load_holds_memory_and_computes_nothing() -> None:
    sample = a_gpu().sample(GpuLoad(compute_share=0.0, memory_mib=1_000), 0.0)

    assert sample.utilization_percent == 0.0
    assert sample.memory_used_mib == 1_000 + MEMORY_BASE_MIB


def test_temperature_rises_slowly_to_what_a_full_h100_shows() -> None:
    gpu = a_gpu()
    idle = temperature(gpu.sample(None, 0.0))

    warming = [temperature(sample) for sample in readings(gpu, FULL_LOAD, 1, 601)]

    assert warming[0] - idle < 5
    assert 0.45 < (warming[19] - idle) / (warming[-1] - idle) < 0.75  # .6 of it with 12 s, .4 of it with 90 s
    assert warming[-1] == pytest.approx(71, abs=3)
    assert all(later >= earlier - 2 for earlier, later in pairwise(warming))


def test_temperature_falls_slowly_after_the_job() -> None:
    gpu = a_gpu()
    hot = temperature(readings(gpu, FULL_LOAD, 0, 600)[-1])

    cooling = [temperature(sample) for sample in readings(gpu, None, 600, 1_200)]

    assert cooling[0] > hot - 5
    assert cooling[-1] == pytest.approx(34, abs=3)


def test_two_readings_at_one_instant_or_a_step_back_do_not_change_the_temperature() -> None:
    gpu = a_gpu()
    before = temperature(readings(gpu, FULL_LOAD, 0, 10)[-1])

    assert temperature(gpu.sample(None, 9.0)) == before
    assert temperature(gpu.sample(None, 3.0)) == before


@given(
    steps=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 200_000), st.floats(0, 3_600)), max_size=20),
    seed=st.integers(0, 2**63 - 1),
)
def test_no_job_drives_a_reading_beyond_the_card(steps: list[tuple[float, int, float]], seed: int) -> None:
    gpu, now = a_gpu(seed=seed), 0.0
    for share, memory_mib, passed in steps:
        now += passed
        sample = gpu.sample(GpuLoad(compute_share=share, memory_mib=memory_mib), now)

        assert 0.0 <= (sample.utilization_percent or 0.0) <= 100.0
        assert 0 <= (sample.memory_used_mib or 0) <= MEMORY_TOTAL_MIB
        assert 0.0 < (sample.power_w or 0.0) <= POWER_LIMIT_W
        assert 25.0 <= temperature(sample) < TEMPERATURE_LIMIT_C


def test_its_identity_says_that_it_is_simulated() -> None:
    identity = a_gpu(index=3).identity()

    assert identity.index == 3
    assert identity.uuid == "SIM-00000000-0000-0000-0000-000000000003"
    assert identity.name == "NVIDIA H100 80GB HBM3 (simulated)"
    assert (identity.memory_total_mib, identity.power_limit_w) == (81_559, 700.0)


# --- heat outlives the process


class Machine:
    """A GPU whose worker is killed and restarted: each has its own monotonic times, all share the file."""

    def __init__(self, folder: Path) -> None:
        self.wall = 1_000_000.0
        self.path = folder / "simulated" / "gpu-0.json"

    def worker(self) -> SimulatedGpu:
        return SimulatedGpu(index=0, seed=5, heat=HeatFile(self.path, clock=lambda: self.wall))

    def run(self, gpu: SimulatedGpu, load: GpuLoad | None, seconds: int) -> float:
        """The temperature after that time."""
        for _ in range(seconds):
            self.wall += 1
            last = temperature(gpu.sample(load, self.wall))
        return last


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_gpu_whose_worker_is_killed_is_as_warm_a_moment_later(machine: Machine) -> None:
    hot = machine.run(machine.worker(), FULL_LOAD, 600)

    machine.wall += 0.7
    assert temperature(machine.worker().sample(None, 7.0)) == pytest.approx(hot, abs=3)


@pytest.mark.parametrize("seconds", [10, 60, 600, 10**7])
def test_it_has_cooled_as_if_the_worker_had_watched(machine: Machine, seconds: int) -> None:
    watched = machine.worker()
    machine.run(watched, FULL_LOAD, 600)
    kept = machine.path.read_text()
    cooled = machine.run(watched, None, min(seconds, 1_000))

    machine.path.write_text(kept)
    machine.wall = 1_000_600.0 + seconds
    assert temperature(machine.worker().sample(None, 0.0)) == pytest.approx(cooled, abs=2)


def test_a_clock_that_was_set_back_neither_heats_nor_cools_it(machine: Machine) -> None:
    hot = machine.run(machine.worker(), FULL_LOAD, 600)

    machine.wall -= 3_600

    assert temperature(machine.worker().sample(None, 0.0)) == pytest.approx(hot, abs=3)


@pytest.mark.parametrize(
    "content",
    [
        "",
        '{"at": 1000000.0, "parts',
        "null",
        "[]",
        "\0\0\0\0",
        '{"at": "x", "parts_c": [50, 50]}',
        '{"at": 1e6, "parts_c": [50]}',
        '{"at": 1e6, "parts_c": [NaN, 9e9]}',
        '{"at": 1e6, "parts_c": 7}',
    ],
)
def test_a_torn_file_is_no_heat(machine: Machine, content: str) -> None:
    machine.path.parent.mkdir()
    machine.path.write_text(content)

    assert temperature(machine.worker().sample(None, 0.0)) == pytest.approx(34, abs=3.5)


def test_a_folder_that_cannot_be_written_stops_no_reading_and_is_logged_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.path.parent.write_text("a file in the place of the folder")

    machine.run(machine.worker(), FULL_LOAD, 3)

    assert [record.message for record in caplog.records if record.message == "heat_not_kept"] == ["heat_not_kept"]
