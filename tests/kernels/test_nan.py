"""What is no number stays none, so that a broken model shows: NaN in is NaN out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from launches import skip_without

from opencl_kernels import FAMILIES, KERNELS, family_of
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At, Case
from opencl_kernels.experts.chosen import Chosen
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import Array
from opencl_kernels.launch import launch
from opencl_kernels.layouts import F32, quantized
from opencl_kernels.map.indexed import Operand, floats
from opencl_kernels.matmul.batched import BatchedProduct, columns_of, rows_of
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Product
from opencl_kernels.norm.rmsnorm import Rows
from opencl_kernels.reduce.reduce import Reduction
from opencl_kernels.scan.groups import Groups
from opencl_kernels.scan.scan import Scan
from opencl_kernels.scan.scatter import Scatter
from opencl_kernels.scan.topk import TopK
from opencl_kernels.tuned import default_knobs

GATES = Product(M=3, N=64, K=33, glu=Glu(25, "relu"))
CODES = replace(GATES, w=quantized("e0m4", 16, "f32"))
ONE_ROW = {"M": 1, "at": At(seq=1)}
GATED = {
    "gemm": GATES,
    "gemm_tiled": GATES,
    "gemm_cpu": GATES,
    "gemm of codes": CODES,
    "gemm_tiled of codes": CODES,
    "gemm_cpu of codes": CODES,
    "gemv": replace(GATES, **ONE_ROW),
    "gemv_cpu": replace(GATES, **ONE_ROW),
    "gemv_quantized_cpu": replace(CODES, **ONE_ROW),
}
ONE = Heads(M=1, H=6, G=2, K=30, C=90, SCALE=0.2, at=At(seq=1, past=70))
MANY = replace(ONE, M=7, at=At(seq=7, past=70))
SHARED = replace(ONE, H=20, x="f16", kv="f16")  # ten heads a K/V head
ATTENTION = {
    "attention_prefill": MANY,
    "attention_prefill_cpu": MANY,
    "attention_prefill_half": replace(MANY, x="f16", kv="f16"),
    "attention_decode": ONE,
    "attention_decode_cpu": ONE,
    "attention_decode_half": SHARED,
    "attention_decode_shuffle": ONE,
    "attention_split": replace(ONE, SPLITS=3),
    "attention_split_cpu": replace(ONE, SPLITS=3),
    "attention_split_half": replace(SHARED, SPLITS=3),
    "attention_split_shuffle": replace(ONE, SPLITS=3),
}


def run(queue: Any, name: str, inputs: dict[str, Array], case: Case) -> dict[str, Array]:
    kernel = KERNELS[name.split()[0]]
    knobs = default_knobs(kernel, kernel.classes[0])
    skip_without(queue, kernel.requires(case, knobs).features)
    return launch(queue, family_of(kernel.name), kernel, inputs, case, knobs)[0]


def inputs_of(name: str, case: Case) -> dict[str, Array]:
    return random_inputs(family_of(name.split()[0]), case, np.random.default_rng(0))


@pytest.mark.parametrize(("name", "case"), GATED.items())
def test_relu_of_a_gate_that_is_no_number(queue: Any, name: str, case: Product) -> None:
    """The up is a number: only the gate says that something is wrong."""
    inputs = inputs_of(name, case)
    if "scale" in inputs:
        inputs["scale"][0, 0, 5] = np.nan  # [strip, group, row]: gates are rows 0 to 15 of a strip
    else:
        inputs["w"][0, 7, 5] = np.nan  # [block, k, row]: gates are every other block
    y = run(queue, name, inputs, case)["y"]
    expected = family_of(name.split()[0]).reference(inputs, case)["y"]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert np.isnan(y).sum() == case.M


@pytest.mark.parametrize(("name", "case"), GATED.items())
def test_relu_of_a_row_that_is_no_number(queue: Any, name: str, case: Case) -> None:
    inputs = inputs_of(name, case)
    inputs["x"][0, 20] = np.nan
    y = run(queue, name, inputs, case)["y"]
    assert np.isnan(y[0]).all() and np.isfinite(y[1:]).all()


@pytest.mark.parametrize("name", ["experts", "experts_cpu", "experts_quantized_cpu"])
def test_experts_of_a_row_that_is_no_number(queue: Any, name: str) -> None:
    weight = quantized("e0m4", 16, "f32") if "quantized" in name else F32
    case = Chosen(M=3, choices=2, E=4, N=64, K=33, w=weight, glu=Glu(25, "relu"))
    inputs = inputs_of(name, case) | {"indices": np.array([[0, 3], [2, 2], [-1, 4]])}
    inputs["x"][0, 20] = np.nan
    y = run(queue, name, inputs, case)["y"]
    assert np.isnan(y[0]).all() and np.isfinite(y[1:]).all() and (y[2] == 0).all()


# A sink of each head, and a bias of each key that the last token may see.
BIASED = {
    name: replace(
        case,
        V=17,
        score="Where(i3 > 3, s + a0[i3], -65504.0)",
        sink="a1[i1]",
        inputs=(Operand("f32", 77), Operand("f32", case.H)),
    )
    for name, case in ATTENTION.items()
}


def attended(queue: Any, name: str, inputs: dict[str, Array], case: Heads) -> Array:
    """y, of the splits combined."""
    outputs = run(queue, name, inputs, case)
    if case.SPLITS:
        outputs = run(queue, "attention_combine", {"splits": outputs["splits"]}, case)
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
    queue: Any, name: str, case: Heads, where: str, element: tuple[int, ...]
) -> None:
    inputs = inputs_of(name, case)
    inputs[where][element] = np.nan
    expected = FAMILIES["attention_decode"].reference(inputs, case)["y"]
    y = attended(queue, name, inputs, case)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert np.isnan(y).any() and np.isfinite(y).any()


@pytest.mark.parametrize(("name", "case"), ATTENTION.items())
def test_attention_where_nothing_is_a_number(queue: Any, name: str, case: Heads) -> None:
    inputs = inputs_of(name, case)
    inputs["k_state"][:] = np.nan
    assert np.isnan(attended(queue, name, inputs, case)).all()


@pytest.mark.parametrize(("name", "case"), BIASED.items())
@pytest.mark.parametrize(
    ("where", "element", "spoils"),
    [
        ("a0", 40, slice(None)),  # a key that all see
        ("a0", 3, slice(0)),  # one whose score does not say what it reads
        ("a1", 5, 5),  # the sink of the last head
    ],
)
def test_scores_and_sinks_that_are_no_numbers(
    queue: Any, name: str, case: Heads, where: str, element: int, spoils: Any
) -> None:
    inputs = inputs_of(name, case)
    inputs[where][element] = np.nan
    y = attended(queue, name, inputs, case)
    spoiled = np.zeros(y.shape, bool)
    spoiled[:, spoils] = True
    np.testing.assert_array_equal(np.isnan(y), spoiled)


@pytest.mark.parametrize(("name", "case"), BIASED.items())
@pytest.mark.parametrize(
    "lowest", ["-65504.0", pytest.param("-1e30", marks=pytest.mark.slow), "-inf"]
)
def test_rows_whose_keys_are_all_masked(queue: Any, name: str, case: Heads, lowest: str) -> None:
    """Zeros, whatever their sink is; the rows beside them are as they would be."""
    masked = replace(case, score=f"Where(i1 % 2 == 0, {lowest}, s)", sink="Float(i1 - 3) * 50000.0")
    inputs = inputs_of(name, masked)
    y = attended(queue, name, inputs, masked)
    assert (y[:, ::2] == 0).all()
    expected = FAMILIES["attention_decode"].reference(inputs, masked)["y"]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert y[:, 1].all()  # whose sink is as good as none


@pytest.mark.parametrize("column", [3, -2, -1])
def test_a_split_that_is_no_number(queue: Any, column: int) -> None:
    """Among its values, as its greatest score, or as its weights' total."""
    family, case = FAMILIES["attention_combine"], ATTENTION["attention_split"]
    splits = family.inputs(case)["splits"].copy()
    splits[0, 2, 1, column] = np.nan
    y = run(queue, family.name, {"splits": splits}, case)["y"]
    expected = family.reference({"splits": splits}, case)["y"]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    assert np.isnan(y[0, 2, 3])


def test_norms_of_what_is_no_number(queue: Any) -> None:
    for name in ("rmsnorm", "rmsnorm_cpu", "add_rmsnorm", "add_rmsnorm_cpu"):
        case = Rows(M=2, D=63, EPS=1e-5)
        inputs = inputs_of(name, case)
        inputs["x"][1, 62] = np.nan
        y = run(queue, name, inputs, case)["y"]
        assert np.isnan(y[1]).all() and np.isfinite(y[0]).all()


def rowed(name: str, case: Case, column: int) -> tuple[dict[str, Array], Case]:
    """Three rows of 17 elements, of which the second has one that is no number."""
    inputs = inputs_of(name, case)
    inputs["a0"][17 + column] = np.nan
    return inputs, case


@pytest.mark.parametrize("op", ["sum", "product", "max", "min"])
def test_scans_of_what_is_no_number(queue: Any, op: str) -> None:
    case = Scan(axes=(3, 17), x="a0[17*i0 + i1]", op=op, inputs=floats(51))
    y = run(queue, "scan", *rowed("scan", case, 5))["y"].reshape(3, 17)
    assert np.isnan(y[1, 5:]).all() and np.isnan(y).sum() == 12


@pytest.mark.parametrize("op", ["sum", "product", "max", "min"])
def test_reductions_of_what_is_no_number(queue: Any, op: str) -> None:
    case = Reduction(axes=(3, 17), reduced=1, x="a0[17*i0 + i1]", op=op, inputs=floats(51))
    for column in (5, 16):
        y = run(queue, "reduce", *rowed("reduce", case, column))["y"]
        np.testing.assert_array_equal(np.isnan(y), [False, True, False])


@pytest.mark.parametrize("name", ["topk", "topk_short"])
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("later", [True, False])
def test_what_is_no_number_is_the_first_of_a_row(
    queue: Any, name: str, largest: bool, later: bool
) -> None:
    shown = {"largest": largest, "later": later, "inputs": floats(51)}
    case = TopK(axes=(3, 17), x="a0[17*i0 + i1]", k=4, **shown)
    inputs, _ = rowed("topk", case, 16)
    inputs["a0"][17 + 3] = np.nan
    outputs = run(queue, name, inputs, case)
    expected = FAMILIES["topk"].reference(inputs, case)
    np.testing.assert_array_equal(outputs["indices"], expected["indices"])
    assert np.isnan(outputs["y"].reshape(3, 4)[1, :2]).all() and np.isnan(outputs["y"]).sum() == 2


def test_a_group_of_what_is_no_number_is_kept(queue: Any) -> None:
    """Its sum is none either: what is wrong with scores shows in the choice."""
    groups = Groups(4, 2, 1, "-9.0")
    case = TopK(axes=(3, 20), x="a0[20*i0 + i1]", k=5, inputs=floats(60), groups=groups)
    inputs = inputs_of("topk", case)
    inputs["a0"][20 + 11] = np.nan
    outputs, expected = (
        run(queue, "topk_short", inputs, case),
        FAMILIES["topk"].reference(inputs, case),
    )
    np.testing.assert_array_equal(outputs["indices"], expected["indices"])
    assert outputs["indices"].reshape(3, 5)[1, 0] == 11 and np.isnan(outputs["y"][5])


@pytest.mark.parametrize("op", ["latest", "sum", "product", "max", "min"])
def test_updates_that_are_no_numbers(queue: Any, op: str) -> None:
    """One of an update, one of what is there."""
    sizes: dict[str, Any] = {"axes": (5,), "serial": 1, "elements": 9, "inputs": floats(5)}
    case = Scatter(into="2*(i0 // 2)", value="a0[i0]", op=op, **sizes)
    inputs = inputs_of("scatter", case)
    inputs["a0"][3] = inputs["y"][[4, 7]] = np.nan
    y = run(queue, "scatter", inputs, case)["y"]
    np.testing.assert_array_equal(np.isnan(y).nonzero()[0], [2, 7] if op == "latest" else [2, 4, 7])


@pytest.mark.parametrize("name", ["batched_gemm_cpu", "batched_gemm"])
def test_products_of_activations_that_are_no_numbers(queue: Any, name: str) -> None:
    """Of a row of the one, of a column of the other; what lies beyond the edges spoils nothing."""
    sides = {"left": rows_of("0", "33"), "right": columns_of("0", "33")}
    case = BatchedProduct(axes=(7, 19, 33), inputs=floats(231, 627), **sides)
    inputs = inputs_of(name, case)
    inputs["a0"][33 + 32] = inputs["a1"][18 * 33] = np.nan
    y = run(queue, name, inputs, case)["y"].reshape(7, 19)
    assert np.isnan(y[1]).all() and np.isnan(y[:, 18]).all() and np.isnan(y).sum() == 25
