"""What is no number stays none, so that a broken model shows: NaN in is NaN out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from opencl_kernels import KERNELS, Kernel, default_knobs
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Case, random_inputs
from opencl_kernels.launch import launch

GLU: Case = {"M": 3, "N": 64, "F": 25, "K": 33, "GLU": 1, "act": "relu"}
ONE_ROW = {"M": 1, "seq": 1}
CODES = {"w": "e0m4", "GROUP": 16, "scale": "f32"}
GATED = {
    "gemm": GLU,
    "gemm_cpu": GLU,
    "gemm of codes": {**GLU, **CODES},
    "gemm_cpu of codes": {**GLU, **CODES},
    "gemv": {**GLU, **ONE_ROW},
    "gemv_cpu": {**GLU, **ONE_ROW},
    "gemv_quantized_cpu": {**GLU, **ONE_ROW, **CODES},
}
BASE: Case = {"H": 6, "G": 2, "K": 30, "C": 90, "SCALE": 0.2, "past": 70}
ATTENTION: dict[str, Case] = {
    "attention_prefill": {**BASE, "M": 7, "seq": 7},
    "attention_prefill_cpu": {**BASE, "M": 7, "seq": 7},
    "attention_decode": {**BASE, "M": 1, "seq": 1},
    "attention_decode_cpu": {**BASE, "M": 1, "seq": 1},
    "attention_split": {**BASE, "M": 1, "seq": 1, "SPLITS": 3},
    "attention_split_cpu": {**BASE, "M": 1, "seq": 1, "SPLITS": 3},
}


def run(queue: Any, kernel: Kernel, inputs: dict[str, Array], case: Case) -> dict[str, Array]:
    return launch(queue, kernel, inputs, case, default_knobs(kernel))[0]


def inputs_of(name: str, case: Case) -> tuple[Kernel, dict[str, Array]]:
    kernel = KERNELS[name.split()[0]]
    return kernel, random_inputs(kernel, case, np.random.default_rng(0))


@pytest.mark.parametrize(("name", "case"), GATED.items())
def test_relu_of_a_gate_that_is_no_number(queue: Any, name: str, case: Case) -> None:
    """The up is a number: only the gate says that something is wrong."""
    kernel, inputs = inputs_of(name, case)
    if "scale" in inputs:
        inputs["scale"][0, 0, 5] = np.nan  # [strip, group, row]: gates are rows 0 to 15 of a strip
    else:
        inputs["w"][0, 7, 5] = np.nan  # [block, k, row]: gates are every other block
    y = run(queue, kernel, inputs, case)["y"]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(kernel.reference(inputs, case)["y"]))
    assert np.isnan(y).sum() == case["M"]


@pytest.mark.parametrize(("name", "case"), GATED.items())
def test_relu_of_a_row_that_is_no_number(queue: Any, name: str, case: Case) -> None:
    kernel, inputs = inputs_of(name, case)
    inputs["x"][0, 20] = np.nan
    y = run(queue, kernel, inputs, case)["y"]
    assert np.isnan(y[0]).all() and np.isfinite(y[1:]).all()


def attended(queue: Any, name: str, inputs: dict[str, Array], case: Case) -> Array:
    """y, of the splits combined."""
    outputs = run(queue, KERNELS[name], inputs, case)
    if "SPLITS" in case:
        combine = KERNELS["attention_combine"]
        outputs = run(queue, combine, {"splits": outputs["splits"]}, case)
    return outputs["y"]


@pytest.mark.parametrize(("name", "case"), ATTENTION.items())
@pytest.mark.parametrize(
    ("where", "element"),
    [
        ("q", (-1, 4, 3)),  # head 4 of the last token
        ("k_state", (0, 1, 40, 29)),  # a key that all tokens see
        ("k_state", (0, 0, 70, 0)),  # that of the first of these tokens
        ("v_state", (0, 1, 0, 7)),
    ],
)
def test_attention_to_what_is_no_number(
    queue: Any, name: str, case: Case, where: str, element: tuple[int, ...]
) -> None:
    _, inputs = inputs_of(name, case)
    inputs[where][element] = np.nan
    expected = KERNELS["attention_decode"].reference(inputs, case)["y"]
    y = attended(queue, name, inputs, case)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert np.isnan(y).any() and np.isfinite(y).any()


@pytest.mark.parametrize(("name", "case"), ATTENTION.items())
def test_attention_where_nothing_is_a_number(queue: Any, name: str, case: Case) -> None:
    _, inputs = inputs_of(name, case)
    inputs["k_state"][:] = np.nan
    assert np.isnan(attended(queue, name, inputs, case)).all()


@pytest.mark.parametrize("column", [3, -2, -1])
def test_a_share_that_is_no_number(queue: Any, column: int) -> None:
    """Among its values, as its greatest score, or as its weights' total."""
    kernel, case = KERNELS["attention_combine"], ATTENTION["attention_split"]
    splits = kernel.fixed(case)["splits"].copy()
    splits[0, 2, 1, column] = np.nan
    y = run(queue, kernel, {"splits": splits}, case)["y"]
    np.testing.assert_array_equal(
        np.isnan(y), np.isnan(kernel.reference({"splits": splits}, case)["y"])
    )
    assert np.isnan(y[0, 2, 3])


def test_norms_of_what_is_no_number(queue: Any) -> None:
    for name in ("rmsnorm", "rmsnorm_cpu", "add_rmsnorm", "add_rmsnorm_cpu"):
        case = {"M": 2, "D": 63, "EPS": 1e-5}
        kernel, inputs = inputs_of(name, case)
        inputs["x"][1, 62] = np.nan
        y = run(queue, kernel, inputs, case)["y"]
        assert np.isnan(y[1]).all() and np.isfinite(y[0]).all()
