"""How fast a vendor's own product of float32 matrices is on a device: a peak that can be reached.

cuBLAS on NVIDIA's devices, CLBlast on any OpenCL device, numpy's BLAS on a processor: the first
that is installed. Each multiplies square matrices, and the host's clock runs from the call until
the device has finished.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from ctypes import byref, c_float, c_size_t, c_void_p
from ctypes.util import find_library
from typing import Any, NamedTuple

import numpy as np

from opencl_kernels.timing import Timer, timed

SIZE = 2048  # rows and columns of each matrix
HOST_TO_DEVICE = 1  # cudaMemcpyKind
ROUNDS = 5


class Sgemm(NamedTuple):
    """A library's rate."""

    library: str
    flop_s: float  # two of each multiply-add
    spread: float


def vendor_sgemm(timer: Timer) -> Sgemm | None:
    """The rate of the first library that works here; None where there is none."""
    is_cpu = timer.device_class.is_cpu
    kinds: list[tuple[str, Callable[[Timer], Callable[[], None] | None]]] = [
        ("cuBLAS", _cublas),
        ("CLBlast", _clblast),
        ("numpy's BLAS", _numpy),
    ]
    for name, prepare in kinds if is_cpu else kinds[:2]:
        multiply = prepare(timer)
        if multiply is not None:
            return Sgemm(name, *_rate(multiply))
    return None


def _rate(multiply: Callable[[], None]) -> tuple[float, float]:
    multiply()  # makes what the library makes once
    found = timed(list(_seconds(multiply)))
    return 2 * SIZE**3 / found.seconds, found.spread


def _seconds(multiply: Callable[[], None]) -> Iterator[float]:
    for _ in range(ROUNDS):
        start = time.perf_counter()
        multiply()
        yield time.perf_counter() - start


def _numbers() -> np.ndarray:
    """A matrix [SIZE, SIZE]; devices multiply zeros with less power, and so with higher clocks."""
    return np.random.default_rng(0).random((SIZE, SIZE), np.float32)


def _library(*names: str) -> Any:
    for name in names:
        try:
            return ctypes.CDLL(find_library(name) or name)
        except OSError:
            continue
    return None


def _cublas(timer: Timer) -> Callable[[], None] | None:
    """CUDA's first device, if the device is NVIDIA's."""
    if "NVIDIA" not in timer.device.vendor.upper():
        return None
    cuda, blas = _library("cudart", "libcudart.so"), _library("cublas", "libcublas.so")
    handle, matrices = c_void_p(), [c_void_p() for _ in range(3)]
    if cuda is None or blas is None or blas.cublasCreate_v2(byref(handle)):
        return None
    host = _numbers()
    for each in matrices:
        nbytes = c_size_t(host.nbytes)
        if cuda.cudaMalloc(byref(each), nbytes) or cuda.cudaMemcpy(
            each, c_void_p(host.ctypes.data), nbytes, HOST_TO_DEVICE
        ):
            return None
    a, b, c = matrices
    one, zero, n = c_float(1), c_float(0), SIZE

    def multiply() -> None:
        of = (byref(one), a, n, b, n, byref(zero), c, n)
        failed = blas.cublasSgemm_v2(handle, 0, 0, n, n, n, *of) or cuda.cudaDeviceSynchronize()
        if failed:
            raise RuntimeError(f"cublasSgemm: {failed}")

    return multiply if _works(multiply) else None


def _clblast(timer: Timer) -> Callable[[], None] | None:
    """On the device that is measured."""
    blas = _library("clblast", "libclblast.so", "libclblast.so.1")
    if blas is None:
        return None
    matrices = [timer.buffer(_numbers()) for _ in range(3)]
    a, b, c = ([c_void_p(each.int_ptr), c_size_t(0), c_size_t(SIZE)] for each in matrices)
    queue, size = c_void_p(timer.queue.int_ptr), c_size_t(SIZE)

    # `matrices` is a default to keep them. 101: row-major, 111: not transposed.
    def multiply(_kept: Any = matrices) -> None:
        of = (*a, *b, c_float(0), *c, byref(queue), None)
        failed = blas.CLBlastSgemm(101, 111, 111, size, size, size, c_float(1), *of)
        timer.queue.finish()
        if failed:
            raise RuntimeError(f"CLBlastSgemm: {failed}")

    return multiply if _works(multiply) else None


def _numpy(timer: Timer) -> Callable[[], None]:
    a, b, c = (_numbers() for _ in range(3))

    def multiply() -> None:
        np.matmul(a, b, out=c)

    return multiply


def _works(multiply: Callable[[], None]) -> bool:
    """A library that is installed and fails on this device is none."""
    try:
        multiply()
    except RuntimeError:
        return False
    return True
