"""Products of activations at random sizes, strides, storage and endings, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from opencl_kernels import FAMILIES, KERNELS
from opencl_kernels.family import random_inputs
from opencl_kernels.launch import GUARD, launch
from opencl_kernels.map.indexed import Operand
from opencl_kernels.matmul.batched import BatchedProduct, Strided
from opencl_kernels.tuned import default_knobs

ENDINGS = ("", "v * 0.25 - a2[i1]", "Tanh(v) + Float(i0)", "Where(i1 <= i0, v, -65504.0)")


def random_side(rng: np.random.Generator, batch: int, input: int, shape: Any) -> tuple[Any, Any]:
    """An operand [batch, rows, columns] somewhere in memory, by rows or columns, or one for all."""
    rows, columns = shape
    wide = bool(rng.integers(2))  # columns lie in order
    gap, first = int(rng.integers(0, 4)), int(rng.integers(0, 3))
    stride = (rows if wide else columns) + gap
    matrix = stride * max(columns if wide else rows, 1)
    apart = matrix * int(rng.integers(2))
    row, column = ("1", str(stride)) if wide else (str(stride), "1")
    size = first + batch * matrix + max(rows, columns)
    dtype = str(rng.choice(["f32", "f16"]))
    return Strided(input, f"{apart}*i0 + {first}", row, column), Operand(dtype, size)


def random_case(rng: np.random.Generator) -> BatchedProduct:
    batch, M, N = (int(rng.integers(1, most)) for most in (5, 230, 90))
    K = int(rng.choice([0, 1, 15, 33, 255, 256, 257, 515]))
    (left, one), (right, other) = (
        random_side(rng, batch, n, shape) for n, shape in enumerate(((M, K), (K, N)))
    )
    return BatchedProduct(
        axes=(batch, M, N, K),
        left=left,
        right=right,
        inputs=(one, other, Operand("f32", N)),
        epilogue=str(rng.choice(ENDINGS)),
        y=str(rng.choice(["f32", "f16"])),
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", ["batched_gemm_cpu", "batched_gemm"])
def test_products_of_activations_equal_numpy(queue: Any, name: str, seed: int) -> None:
    rng, family, kernel = np.random.default_rng(seed), FAMILIES["batched_gemm"], KERNELS[name]
    case = random_case(rng)
    inputs, knobs = random_inputs(family, case, rng), default_knobs(kernel, kernel.classes[0])
    outputs, guard = launch(queue, family, kernel, inputs, case, knobs)
    expected = family.reference(inputs, case)["y"]
    error = np.sum((outputs["y"] - expected) ** 2) / max(np.sum(expected**2), 1e-30)
    assert error < (1e-9 if case.y == "f32" else 1e-6), case
    assert (guard == GUARD).all(), case
