"""Products in half arithmetic: as near as halves can be, and finite for every x that is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from launches import check_launch, nmse, skip_without

from opencl_kernels import FAMILIES, KERNELS
from opencl_kernels.case import At
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import GROUPS, QUANTIZED, Array, pack_codes
from opencl_kernels.launch import launch
from opencl_kernels.layouts import F16, quantized
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from opencl_kernels.tuned import default_knobs

FAMILY, KERNEL = FAMILIES["gemv"], KERNELS["gemv_half"]
OF_CODES = (
    ("gemv_half", "e0m4"),
    ("gemv_half", "q8"),
    ("gemm_half", "e0m4"),
    ("gemm_half_q8", "q8"),
)
HELD = [(*each, held) for each in OF_CODES for held in KERNELS[each[0]].knobs["HELD"]]
PREFILL = {"gemm_half": "e0m4", "gemm_half_q8": "q8", "gemm_half_f16": ""}  # and its codes
LARGEST = 65504  # of halves
CASE = Product(M=1, N=64, K=1024, x="f16", w=quantized("e0m4", 32, "f32", "u8"))
DISTRIBUTIONS = {
    "even": lambda rng, size: rng.uniform(-1, 1, size),
    "with outliers": lambda rng, size: rng.standard_t(2, size),
    "off centre": lambda rng, size: rng.standard_normal(size) + 4,
    "small": lambda rng, size: rng.standard_normal(size) / 64,
    "large": lambda rng, size: rng.uniform(-LARGEST, LARGEST, size),
}


@pytest.fixture(autouse=True)
def _has_halves(queue: Any) -> None:
    skip_without(queue, ["fp16"])


def error(queue: Any, name: str, case: Product, inputs: dict[str, Array], held: int) -> float:
    """NMSE of what the kernel makes of finite x, which must be finite."""
    y = launch_with(queue, name, case, inputs, HELD=held)
    assert np.isfinite(y).all()
    return nmse(y, FAMILY.reference(inputs, case)["y"])


def launch_with(
    queue: Any, name: str, case: Product, inputs: dict[str, Array], **knobs: int
) -> Array:
    """What the kernel makes, with these knobs and the usual others."""
    kernel = KERNELS[name]
    knobs = {**default_knobs(kernel, "generic"), **knobs}
    return launch(queue, FAMILY, kernel, inputs, case, knobs)[0]["y"]


@pytest.mark.parametrize(("name", "dtype", "held"), HELD)
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_as_near_as_halves_can_be(
    queue: Any, distribution: str, dtype: str, name: str, held: int
) -> None:
    rng = np.random.default_rng(0)
    case = replace(CASE, w=replace(CASE.w, dtype=dtype, layout=dtype))
    inputs = random_inputs(FAMILY, case, rng)
    inputs["x"] = DISTRIBUTIONS[distribution](rng, (1, case.K)).astype(np.float16)
    assert error(queue, name, case, inputs, held) < 1e-6


@pytest.mark.parametrize(("name", "dtype", "held"), HELD)
@pytest.mark.parametrize(("code", "zero"), [(0, "u8"), (-1, "u8"), (0, ""), (-1, "")])
def test_the_largest_sums_stay_finite(
    queue: Any, dtype: str, name: str, held: int, code: int, zero: str
) -> None:
    """All of x the largest half, all codes at the other end from their zero points."""
    bits, most = QUANTIZED[dtype], 2 ** QUANTIZED[dtype] - 1
    case = replace(CASE, w=quantized(dtype, 32, "f32", zero))
    codes = np.full((case.N, case.K), code % (most + 1), np.uint8)
    inputs = random_inputs(FAMILY, case, np.random.default_rng(0))
    inputs |= {"w": pack_codes(codes, bits, 32), "x": np.full((1, case.K), LARGEST, np.float16)}
    if zero:
        inputs["zero"][:] = 0 if code else most
    assert error(queue, name, case, inputs, held) < 1e-6


@pytest.mark.parametrize("held", KERNELS["gemm_half_f16"].knobs["HELD"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_weights_in_halves_are_as_near(queue: Any, distribution: str, held: int) -> None:
    rng = np.random.default_rng(0)
    case = replace(CASE, M=3, w=F16, at=At(seq=3))
    inputs = random_inputs(FAMILY, case, rng)
    inputs["x"] = DISTRIBUTIONS[distribution](rng, (case.M, case.K)).astype(np.float16)
    inputs["w"] = (inputs["w"] / 16).astype(np.float16)
    assert error(queue, "gemm_half_f16", case, inputs, held) < 1e-6


@pytest.mark.parametrize("held", KERNELS["gemm_half_f16"].knobs["HELD"])
def test_products_too_small_for_normal_halves_keep_their_bits(queue: Any, held: int) -> None:
    rng = np.random.default_rng(0)
    case = replace(CASE, M=7, w=F16, at=At(seq=7))
    inputs = random_inputs(FAMILY, case, rng)
    inputs["x"] = (rng.standard_normal((case.M, case.K)) * 0.003).astype(np.float16)
    inputs["w"] = (rng.standard_normal(inputs["w"].shape) * 0.002).astype(np.float16)
    assert error(queue, "gemm_half_f16", case, inputs, held) < 1e-6


@pytest.mark.parametrize("weight", [1023.5, 1024.0, 1100.0, -LARGEST])
def test_weights_of_any_size_are_multiplied(queue: Any, weight: float) -> None:
    """Beyond 1,024 a scaled one is infinite, by whatever x, even by zeros."""
    case = replace(CASE, M=9, N=80, K=1037, w=F16, at=At(seq=9))
    inputs = random_inputs(FAMILY, case, np.random.default_rng(0))
    inputs["w"][2, ::5, 5] = weight  # [block, k, row]
    inputs["x"] = (inputs["x"] / 256).astype(np.float16)
    inputs["x"][4] = 0
    y = launch_with(queue, "gemm_half_f16", case, inputs)
    expected = FAMILY.reference(inputs, case)["y"]
    assert np.isfinite(y).all() and (y[4] == expected[4]).all()
    assert nmse(y[:, 37], expected[:, 37]) < (1e-6 if abs(weight) < 1024 else 1e-12)
    assert nmse(np.delete(y, 37, 1), np.delete(expected, 37, 1)) < 1e-6


@pytest.mark.parametrize("name", ["gemm_half", "gemm_half_q8"])
def test_sums_of_codes_beyond_halves_are_made_in_floats(queue: Any, name: str) -> None:
    """Those of a tile with one large row; K has a rest that is no whole group."""
    w = quantized(PREFILL[name], 32, "f16", "u8")
    case = replace(CASE, M=9, N=80, K=1037, w=w, at=At(seq=9))
    inputs = random_inputs(FAMILY, case, np.random.default_rng(0))
    inputs["x"][4] = LARGEST
    y, expected = launch_with(queue, name, case, inputs), FAMILY.reference(inputs, case)["y"]
    assert nmse(y[4], expected[4]) < 1e-11
    assert nmse(np.delete(y, 4, 0), np.delete(expected, 4, 0)) < 1e-6
    inputs["x"][2, 7] = np.nan
    assert np.isnan(launch_with(queue, name, case, inputs)[2]).all()


def test_sums_beyond_halves_are_made_in_floats(queue: Any) -> None:
    """One tile of many, and of its columns one; K has a rest that no half sums."""
    case = replace(CASE, M=9, N=80, K=1037, w=F16, at=At(seq=9))
    inputs = random_inputs(FAMILY, case, np.random.default_rng(0))
    inputs["w"][2, 500:503, 5] = LARGEST  # [block, k, row]
    inputs["x"][4] = 1000.0
    y = launch_with(queue, "gemm_half_f16", case, inputs)
    expected = FAMILY.reference(inputs, case)["y"]
    np.testing.assert_allclose(y[:, 37], expected[:, 37], rtol=1e-6)
    assert nmse(np.delete(y, 37, 1), np.delete(expected, 37, 1)) < 1e-6
    inputs["x"][2, 7] = np.nan
    y = launch_with(queue, "gemm_half_f16", case, inputs)
    assert np.isnan(y[2]).all() and np.isfinite(np.delete(y, 2, 0)).all()


@pytest.mark.parametrize("seed", range(6))
def test_prefill_of_any_size_equals_numpy(queue: Any, seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    name = list(PREFILL)[seed % len(PREFILL)]
    columns, gated = int(rng.integers(1, 150)), bool(rng.integers(2))
    rows, K = (int(rng.choice([1, 7, 63, 65, 130])) for _ in range(2))
    codes = quantized(PREFILL[name] or "q8", int(rng.choice(GROUPS)), "f16", "u8")
    case = Product(
        M=rows,
        N=2 * -(-columns // 16) * 16 if gated else columns,
        K=K,
        x="f16",
        w=codes if PREFILL[name] else F16,
        glu=Glu(columns) if gated else None,
        bias=bool(rng.integers(2)),
        residual=not gated and bool(rng.integers(2)),
        at=At(seq=rows),
    )
    knobs = {knob: int(rng.choice(values)) for knob, values in KERNELS[name].knobs.items()}
    check_launch(queue, FAMILIES["gemm"], KERNELS[name], case, knobs)


@pytest.mark.parametrize("seed", range(6))
def test_any_size_equals_numpy(queue: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns, gated = int(rng.integers(1, 150)), bool(seed % 2)
    weight = quantized(
        str(rng.choice(list(QUANTIZED))),
        int(rng.choice(GROUPS)),
        str(rng.choice(["f32", "f16"])),
        str(rng.choice(["", "u8"])),
    )
    norm = Norm(1e-5) if rng.integers(2) else None
    case = Product(
        M=int(rng.integers(1, 6)),
        N=2 * -(-columns // 16) * 16 if gated else columns,
        K=int(rng.integers(1, 700)),
        x="f16",
        w=weight,
        glu=Glu(columns) if gated else None,
        bias=bool(rng.integers(2)),
        residual=not gated and bool(rng.integers(2)),
        norm=norm,
        keeps_norm=norm is not None and bool(rng.integers(2)),
    )
    knobs = {name: int(rng.choice(values)) for name, values in KERNEL.knobs.items()}
    check_launch(queue, FAMILY, KERNEL, case, knobs)
