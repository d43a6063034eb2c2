"""Products in halves on a device that makes every half below 2^-14 a zero, as many GPUs do.

No driver here does so: the interpreter of `bench --kernels --count` is made to. It rounds each
product before it adds, which loses most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from clang_ir import needs_clang
from launches import nmse

from opencl_kernels import KERNELS, family_of
from opencl_kernels.case import At
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import Array
from opencl_kernels.layouts import F16, quantized
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.tuned import default_knobs
from toolkit.bench.counting import program
from toolkit.bench.counting.ir import Instruction
from toolkit.bench.counting.launches import WAVES, count_launch
from toolkit.bench.counting.operations import BINARY, Operation

pytestmark = needs_clang

ONE_QUICK = [  # classes differ in tiles only
    pytest.param(each, marks=() if each == "mali" else (pytest.mark.slow,)) for each in WAVES
]
SMALLEST = np.float16(2**-14)  # of halves with all their bits
CODES = Product(M=1, N=32, K=512, x="f16", w=quantized("e0m4", 32, "f32", "u8"))
HALVES = Product(M=8, N=32, K=512, x="f16", w=F16, at=At(seq=8))


def flushed(value: Array) -> Array:
    """A zero for each half that is not a normal number."""
    if value.dtype != np.float16:
        return value
    return np.where(np.abs(value) < SMALLEST, np.float16(0), value)


def _multiply_add(a: Array, b: Array, c: Array) -> Array:
    return BINARY["fadd"](flushed(BINARY["fmul"](a, b)), c)


def _flushing(maker: Callable[[Instruction], Operation | None]) -> Callable[..., Operation | None]:
    """An interpreter's way to compute an instruction, with zeros for small halves."""

    def make(each: Instruction) -> Operation | None:
        usual = maker(each)
        if usual is None or each.type.dtype != np.float16:
            return usual
        compute = _multiply_add if "fmuladd" in str(each.more) else usual
        return lambda *values: flushed(compute(*map(flushed, values)))

    return make


@pytest.fixture(autouse=True)
def _flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("function", "operation"):
        monkeypatch.setattr(program, name, _flushing(getattr(program, name)))


def error(name: str, case: Product, x: float, device_class: str, w: float = 0) -> float:
    """NMSE of a launch at a class's defaults: normal x, and weights, of these deviations."""
    rng, family, kernel = np.random.default_rng(0), family_of(name), KERNELS[name]
    inputs = random_inputs(family, case, rng)
    inputs["x"] = (x * rng.standard_normal(inputs["x"].shape)).astype(np.float16)
    if w:
        inputs["w"] = (w * rng.standard_normal(inputs["w"].shape)).astype(np.float16)
    knobs = default_knobs(kernel, device_class)
    found = count_launch(family, kernel, case, knobs, WAVES[device_class], inputs)
    return nmse(found.outputs["y"], family.reference(inputs, case)["y"])


@pytest.mark.parametrize("device_class", WAVES)
@pytest.mark.parametrize(("x", "most"), [(0.01, 2e-6), (0.003, 2e-5)])
def test_prefill_of_weights_in_halves_keeps_small_products(
    device_class: str, x: float, most: float
) -> None:
    """Weights as models have them; unscaled, the smaller x loses a sixth of the answer."""
    assert error("gemm_half_f16", HALVES, x, device_class, w=0.02) < most


@pytest.mark.parametrize("device_class", ONE_QUICK)
@pytest.mark.parametrize(("name", "dtype"), [("gemm_half", "e0m4"), ("gemm_half_q8", "q8")])
@pytest.mark.parametrize(("x", "most"), [(0.02, 1e-6), (0.003, 1e-5)])
def test_prefill_of_codes_keeps_small_products(
    name: str, dtype: str, x: float, most: float, device_class: str
) -> None:
    """At sums of 32 codes; scaled so that none overflows, the larger x loses 7e-4."""
    case = replace(CODES, M=8, w=quantized(dtype, 32, "f32", "u8"), at=At(seq=8))
    assert error(name, case, x, device_class) < most


@pytest.mark.parametrize("device_class", WAVES)
def test_gemv_sums_few_enough_products_to_keep_small_ones(device_class: str) -> None:
    """The more a half sums, the smaller each product must be made."""
    assert error("gemv_half", CODES, 0.02, device_class) < 5e-5
