"""Products with coded weights at random sizes, groups, storage types and options, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from opencl_kernels import KERNELS, default_knobs
from opencl_kernels.formats import GROUPS
from opencl_kernels.kernel import Case, random_inputs
from opencl_kernels.launch import GUARD, launch

NAMES = ("gemm_cpu", "gemv_quantized_cpu", "gemm", "gemv", "embed")


def random_case(name: str, rng: np.random.Generator) -> Case:
    """A case of the kernel; GLU, bias, residual and norm as the coin falls."""
    K, rows = int(rng.integers(1, 700)), int(rng.choice([1, 2, 7, 15, 16, 17, 63, 65]))
    case: dict[str, Any] = {"M": 1 if "gemv" in name else rows, "K": K}
    case |= {"w": str(rng.choice(["e0m4", "q8"])), "GROUP": int(rng.choice(GROUPS))}
    case |= {"scale": str(rng.choice(["f32", "f16"]))}
    case |= {"zero": str(rng.choice(["", "u8", "f16", "f32"]))}
    if name == "embed":
        return {**case, "V": int(rng.integers(1, 150)), "D": case.pop("K")}
    columns, glu = int(rng.integers(1, 150)), bool(rng.integers(2))
    case |= {"N": 2 * -(-columns // 16) * 16, "F": columns, "GLU": 1} if glu else {"N": columns}
    case |= {"bias": True} if rng.integers(2) else {}
    case |= {"residual": True} if not glu and rng.integers(2) else {}
    return {**case, "EPS": 1e-5} if "gemv" in name and rng.integers(2) else case


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", NAMES)
def test_coded_products_equal_numpy_at_any_size(queue: Any, name: str, seed: int) -> None:
    rng = np.random.default_rng([seed, len(name), sum(map(ord, name))])
    kernel, case = KERNELS[name], random_case(name, rng)
    inputs = random_inputs(kernel, case, rng)
    outputs, guard = launch(queue, kernel, inputs, case, default_knobs(kernel))
    expected = kernel.reference(inputs, case)["y"]
    error = np.sum((outputs["y"] - expected) ** 2) / np.sum(expected**2)
    assert error < 1e-9, case
    assert (guard == GUARD).all(), case
