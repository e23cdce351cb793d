from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gpu_tasks.job_types import matrix
from gpu_tasks.job_types.matrix import Dtype, Matrix, is_product, tolerance
from scheduler.job_type import DeviceMemoryExhausted, JobFailed, ParamsInvalid, ResultInvalid, parse_params
from tests.unit.builders import a_context


def run(*, has_cuda: bool = False, **params: Any) -> dict[str, Any]:
    return Matrix().run(parse_params(Matrix(), {"size": 64, "repetitions": 2} | params), a_context(has_cuda=has_cuda))


class FakeCupy(ModuleType):
    """numpy in CuPy's place: it notes what only a GPU needs."""

    def __init__(self) -> None:
        super().__init__("cupy")
        self.synchronized = self.freed = 0
        stream = SimpleNamespace(synchronize=lambda: self._count("synchronized"))
        properties = {"name": b"NVIDIA H100 80GB HBM3"}
        self.cuda = SimpleNamespace(
            get_current_stream=lambda: stream,
            runtime=SimpleNamespace(getDeviceProperties=lambda device: properties),
        )

    def get_default_memory_pool(self) -> SimpleNamespace:
        return SimpleNamespace(free_all_blocks=lambda: self._count("freed"))

    def _count(self, what: str) -> None:
        setattr(self, what, getattr(self, what) + 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> FakeCupy:
    fake = FakeCupy()
    monkeypatch.setitem(sys.modules, "cupy", fake)
    return fake


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_products_are_verified_and_the_result_is_json(dtype: str) -> None:
    result = run(dtype=dtype)

    assert json.loads(json.dumps(result)) == result
    assert result["verified"] is True
    assert result["device"] == "cpu"
    assert result["gflops"] > 0
    assert result["seconds"] > 0


def test_progress_is_reported_after_each_product() -> None:
    told: list[float] = []

    Matrix().run(parse_params(Matrix(), {"size": 16, "repetitions": 4}), a_context(progress=told.append))

    assert told == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.FLOAT64])
@pytest.mark.parametrize("size", [16, 100, 513])
def test_a_single_wrong_entry_is_found(dtype: Dtype, size: int) -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.uniform(-1, 1, (size, size)).astype(dtype.value) for _ in range(2))
    product = a @ b
    assert is_product(np, rng, a, b, product, dtype)

    product[size // 2, size // 3] += 1.0

    assert not is_product(np, rng, a, b, product, dtype)


def test_a_product_in_half_precision_passes_and_a_wrong_one_does_not() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.uniform(-1, 1, (512, 512)).astype(np.float16) for _ in range(2))
    product = (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float16)

    assert is_product(np, rng, a, b, product, Dtype.FLOAT16)
    assert not is_product(np, rng, b, a, product, Dtype.FLOAT16)


def test_a_product_with_no_number_in_it_is_wrong() -> None:
    a = np.ones((32, 32))
    product = a @ a
    product[3, 3] = np.nan

    assert not is_product(np, np.random.default_rng(1), a, a, product, Dtype.FLOAT64)


@pytest.mark.parametrize("dtype", [Dtype.FLOAT32, Dtype.FLOAT64])
def test_the_tolerance_is_well_above_rounding_and_well_below_an_entry(dtype: Dtype) -> None:
    size = 768
    rng = np.random.default_rng(1)
    a, b = (rng.uniform(-1, 1, (size, size)).astype(dtype.value) for _ in range(2))
    exact = a.astype(np.longdouble) @ b[:, :8].astype(np.longdouble)

    rounding = float(np.abs((a @ b)[:, :8] - exact).max()) * size**0.5

    assert 3 * rounding < tolerance(size, dtype) < 0.1 * float(np.abs(exact).mean())


def test_a_wrong_product_fails_the_job(monkeypatch: pytest.MonkeyPatch, cupy: FakeCupy) -> None:
    def zeros(a: Any, b: Any, out: Any) -> None:
        out[:] = 0

    monkeypatch.setattr(cupy, "matmul", zeros, raising=False)

    with pytest.raises(ResultInvalid, match="is wrong"):
        run(has_cuda=True)


@pytest.mark.parametrize("params", [{"dtype": "float16"}, {"size": matrix.HOST_SIZE_MAXIMUM + 1}])
def test_what_takes_a_real_gpu_fails_without_one(params: dict[str, Any]) -> None:
    with pytest.raises(JobFailed, match="needs a real GPU"):
        run(**params)


def test_on_a_real_gpu_the_clock_waits_for_the_device_and_the_memory_is_freed(cupy: FakeCupy) -> None:
    result = run(has_cuda=True, repetitions=3, dtype="float16")

    assert result["device"] == "NVIDIA H100 80GB HBM3"
    assert result["verified"] is True
    assert cupy.synchronized == 6
    assert cupy.freed == 1


def test_a_gpu_without_enough_memory_fails_the_job_and_gets_its_memory_back(
    monkeypatch: pytest.MonkeyPatch, cupy: FakeCupy
) -> None:
    def exhausted(like: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(cupy, "empty_like", exhausted, raising=False)

    with pytest.raises(DeviceMemoryExhausted, match="64 x 64"):
        run(has_cuda=True)
    assert cupy.freed == 1


@pytest.mark.parametrize(
    ("dtype", "matrices_mib"), [("float16", 3 * 32 + 64), ("float32", 3 * 64), ("float64", 3 * 128)]
)
def test_gpu_memory_is_declared_from_the_sizes(dtype: str, matrices_mib: int) -> None:
    params = parse_params(Matrix(), {"size": 4096, "dtype": dtype})

    assert Matrix().gpu_memory_mib(params) == matrices_mib + matrix.CUDA_CONTEXT_MIB


@pytest.mark.parametrize(("field", "value"), [("size", 15), ("size", 32_769), ("dtype", "int8"), ("repetitions", 0)])
def test_a_value_out_of_bounds_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(ParamsInvalid) as caught:
        parse_params(Matrix(), {field: value})

    assert caught.value.field == f"params.{field}"
