"""Job type `matrix`: multiplies matrices, in numpy on the host or in CuPy on a real GPU, and checks the product."""

from __future__ import annotations

from enum import StrEnum
from math import sqrt
from time import perf_counter
from typing import Any, ClassVar, Final

from pydantic import Field

from scheduler.job_type import DeviceMemoryExhausted, JobContext, JobFailed, JobParams, ResultInvalid

#: Three float64 matrices of this size take 1.5 GiB of the host; larger ones belong on a GPU.
HOST_SIZE_MAXIMUM: Final = 8192
#: What a CUDA context and cuBLAS take beside the matrices. An assumption, on the safe side.
CUDA_CONTEXT_MIB: Final = 640
#: Vectors in Freivalds' check: a wrong product passes it with a probability of at most 2^-8.
CHECK_VECTORS: Final = 8
#: Rows that the check turns into float64 at a time, so that it needs hardly any memory.
CHECK_ROWS: Final = 256


class Dtype(StrEnum):
    FLOAT16 = "float16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"


ITEM_BYTES: Final = {Dtype.FLOAT16: 2, Dtype.FLOAT32: 4, Dtype.FLOAT64: 8}
EPSILON: Final = {Dtype.FLOAT16: 2.0**-10, Dtype.FLOAT32: 2.0**-23, Dtype.FLOAT64: 2.0**-52}


#: Products on one core of a server, with the check; another core takes half or twice as long.
HOST_FLOPS: Final = {Dtype.FLOAT16: 1.0e11, Dtype.FLOAT32: 1.0e11, Dtype.FLOAT64: 5.5e10}


class MatrixParams(JobParams):
    size: int = Field(
        default=1024,
        ge=16,
        le=32_768,
        description=f"Rows and columns of each matrix; above {HOST_SIZE_MAXIMUM} only on a real GPU",
    )
    dtype: Dtype = Field(default=Dtype.FLOAT32, description="Number format; float16 only on a real GPU")
    repetitions: int = Field(default=20, ge=1, le=100_000, description="Number of products to compute")


class Matrix:
    name: ClassVar[str] = "matrix"
    summary: ClassVar[str] = "Matrix products with a verified result, in GFLOP/s"
    Params = MatrixParams
    accepts_random_faults: ClassVar[bool] = False

    def run(self, params: MatrixParams, context: JobContext) -> dict[str, Any]:
        if not context.has_cuda and (params.size > HOST_SIZE_MAXIMUM or params.dtype is Dtype.FLOAT16):
            raise JobFailed(f"size {params.size} in {params.dtype} needs a real GPU; this worker has a simulated one")
        xp = _array_module(context)
        try:
            result = _multiply(xp, params, context)
        except MemoryError:
            # Raised below, after this exception and the matrices that its frames hold are gone.
            result = None
        finally:
            if context.has_cuda:
                xp.get_default_memory_pool().free_all_blocks()
        if result is None:
            raise DeviceMemoryExhausted(f"no memory for {params.size} x {params.size} matrices in {params.dtype}")
        if not result["verified"]:
            raise ResultInvalid(f"a product of {params.size} x {params.size} matrices is wrong")
        return result

    def gpu_memory_mib(self, params: MatrixParams) -> int:
        # float16 matrices are drawn as float32 first.
        bytes_per_cell = 3 * ITEM_BYTES[params.dtype] + (4 if params.dtype is Dtype.FLOAT16 else 0)
        return -(-(params.size**2) * bytes_per_cell // 2**20) + CUDA_CONTEXT_MIB

    def load(self, params: MatrixParams) -> float:
        return 1.0

    def duration_seconds(self, params: MatrixParams) -> float:
        # On the host: a real GPU needs about a hundredth of it.
        return 2 * params.size**3 * params.repetitions / HOST_FLOPS[params.dtype]


def _array_module(context: JobContext) -> Any:
    """CuPy or numpy, loaded by the job that needs it: the processes that only validate stay small."""
    if context.has_cuda:
        import cupy  # noqa: PLC0415

        return cupy
    import numpy  # noqa: PLC0415

    return numpy


def _multiply(xp: Any, params: MatrixParams, context: JobContext) -> dict[str, Any]:
    rng = xp.random.default_rng(context.seed)
    a, b = _random_matrix(xp, rng, params), _random_matrix(xp, rng, params)
    product = xp.empty_like(a)
    seconds, verified = 0.0, True
    for done in range(params.repetitions):
        _wait_for_device(xp, context)
        started = perf_counter()
        xp.matmul(a, b, out=product)
        _wait_for_device(xp, context)
        seconds += perf_counter() - started
        verified = verified and is_product(xp, rng, a, b, product, params.dtype)
        context.progress((done + 1) / params.repetitions)
    return {
        "gflops": round(2 * params.size**3 * params.repetitions / max(seconds, 1e-9) / 1e9, 1),
        "seconds": round(seconds, 6),
        "device": _device_name(xp, context),
        "verified": verified,
        "size": params.size,
        "dtype": params.dtype.value,
        "repetitions": params.repetitions,
    }


def _random_matrix(xp: Any, rng: Any, params: MatrixParams) -> Any:
    """Uniform in -1..1, so that products stay in the range of float16."""
    drawn_as = xp.float64 if params.dtype is Dtype.FLOAT64 else xp.float32
    matrix = rng.random((params.size, params.size), dtype=drawn_as)
    matrix *= 2
    matrix -= 1
    return matrix.astype(params.dtype.value, copy=False)


def is_product(xp: Any, rng: Any, a: Any, b: Any, product: Any, dtype: Dtype) -> bool:
    """Freivalds' check: (a b) x = a (b x) for random vectors x of -1 and 1, in n^2 steps instead of n^3."""
    vectors = rng.integers(0, 2, size=(len(a), CHECK_VECTORS)).astype(xp.float64) * 2 - 1
    difference = _times(xp, product, vectors) - _times(xp, a, _times(xp, b, vectors))
    return bool(xp.abs(difference).max() <= tolerance(len(a), dtype))


def tolerance(size: int, dtype: Dtype) -> float:
    """Largest difference that rounding explains, some 10 to 50 times what is seen.

    An entry of the product is about sqrt(n) / 3; rounding it once errs by eps * sqrt(n), adding n terms up by
    eps * n; x adds n such errors with random signs: a factor of sqrt(n). float16 is added up in float32.
    """
    adds_up_in = Dtype.FLOAT32 if dtype is Dtype.FLOAT16 else dtype
    return 4 * (EPSILON[dtype] * size + EPSILON[adds_up_in] * size * sqrt(size))


def _times(xp: Any, matrix: Any, vectors: Any) -> Any:
    rows = range(0, len(matrix), CHECK_ROWS)
    return xp.concatenate([matrix[row : row + CHECK_ROWS].astype(xp.float64) @ vectors for row in rows])


def _wait_for_device(xp: Any, context: JobContext) -> None:
    """A product on a GPU has only been started when matmul returns."""
    if context.has_cuda:
        xp.cuda.get_current_stream().synchronize()


def _device_name(xp: Any, context: JobContext) -> str:
    if not context.has_cuda:
        return "cpu"
    return str(xp.cuda.runtime.getDeviceProperties(0)["name"].decode())
