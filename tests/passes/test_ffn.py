"""Feed-forward networks in a graph, and their weights in codes along records."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import text

from onnx_passes import Facts
from onnx_passes.analysis.ffn import find_ffns
from onnx_passes.code_records import REQUANTIZED, code_records
from onnx_passes.ir.infer import infer
from onnx_passes.weights.e0m4 import quantize
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight, quantized
from onnx_passes.weights.record_codes import Form, along_columns, along_rows, holds
from opencl_kernels.formats import Array

HEAD = """<ir_version: 10, opset_import: ["": 20, "pocket": 1]>
before (float[B, S, 65] x) => (float[B, S, 65] y) <%s> { %s }"""
GU, G, U, D = "float[65, 36] gu", "float[65, 18] g", "float[65, 18] u", "float[18, 65] d"


def piece(body: str, *constants: str) -> ir.Model:
    model = text(HEAD % (", ".join(constants), body))
    infer(model)
    return model


FOUND = {  # body, constants; first column of gates and ups, activations
    "merged": (
        'm = MatMul(x, gu) h = pocket.Glu:silu(m) y = MatMul(h, d)', (GU, D),
        (0, 18), "v * Sigmoid(v)", "v",
    ),
    "relu": ("m = MatMul(x, gu) h = pocket.Glu:relu(m) y = MatMul(h, d)", (GU, D),
             (0, 18), "Relu(v)", "v"),
    "apart": ("a = MatMul(x, g) b = MatMul(x, u) e = Erf(a) h = Mul(b, e) y = MatMul(h, d)",
              (G, U, D), (0, 0), "Erf(v)", "v"),
    "both activated": (
        "a = MatMul(x, g) b = MatMul(x, u) r = Relu(a) t = Tanh(b) h = Mul(r, t) y = MatMul(h, d)",
        (G, U, D), (0, 0), "Relu(v)", "Tanh(v)",
    ),
    "no gate": ("a = MatMul(x, g) r = Relu(a) h = Mul(r, r) y = MatMul(h, d)", (G, D),
                (None, 0), "v", "Mul(Relu(v), Relu(v))"),
    "scalars": ("a = MatMul(x, g) s = Mul(a, c) h = Tanh(s) y = MatMul(h, d)",
                (G, D, "float c = {0.5}"), (None, 0), "v", "Tanh(Mul(v, 0.5))"),
}  # fmt: skip
NOT_FOUND = {  # body, constants, and a word of the reason
    "read elsewhere": (
        "a = MatMul(x, g) h = Relu(a) z = MatMul(h, d) w = MatMul(a, d2) y = Add(z, w)",
        (G, D, "float[18, 65] d2"), "read elsewhere",
    ),
    "another width": (
        "a = MatMul(x, g) h = Relu(a) w = MatMul(h, d3) y = MatMul(w, d4)",
        (G, "float[18, 33] d3", "float[33, 65] d4"), "another width",
    ),
    "one matrix twice": (
        "a = MatMul(x, g) h = Relu(a) z = MatMul(h, d) b = MatMul(z, g) r = Tanh(b) "
        "y = MatMul(r, d)",
        (G, D), "more than once",
    ),
    "nothing between": ("a = MatMul(x, g) y = MatMul(a, d)", (G, D), ""),
    "a vector between": ("a = MatMul(x, g) h = Mul(a, s) y = MatMul(h, d)",
                         (G, D, "float[18] s"), ""),
    "of two values": (
        "z = Neg(x) a = MatMul(x, g) b = MatMul(z, u) r = Relu(a) h = Mul(r, b) y = MatMul(h, d)",
        (G, U, D), "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_networks_are_found(name: str) -> None:
    body, constants, firsts, act, up_act = FOUND[name]
    model = piece(body, *constants)
    (ffn,), misses = find_ffns(model)
    columns = (ffn.gate, ffn.up)
    assert tuple(None if each is None else each.first for each in columns) == firsts
    assert (ffn.act, ffn.up_act, ffn.width, ffn.depth) == (act, up_act, 18, 65)
    assert set(ffn.nodes) == set(model.graph) and not misses


@pytest.mark.parametrize("name", NOT_FOUND)
def test_what_is_none(name: str) -> None:
    body, constants, reason = NOT_FOUND[name]
    found, misses = find_ffns(piece(body, *constants))
    assert found == [] and all(reason in missed.reason for missed in misses)
    assert bool(misses) == bool(reason)


@pytest.mark.parametrize("symmetric", [False, True])
def test_columns_are_quantised_along_themselves(symmetric: bool) -> None:
    """From the floats, as the resident quantiser would do it to the transpose."""
    body, constants, *_ = FOUND["merged"]
    model = piece(body, *constants)
    wanted = Facts(weights="e0m4", group=16, symmetric=symmetric, records=True)
    wanted.note(model)
    weights = {n: v.const_value.numpy() for n, v in model.graph.initializers.items()}
    for name, value in model.graph.initializers.items():  # as quantize_e0m4 leaves them
        w_KN = weights[name]
        weight = coded(np.ascontiguousarray(w_KN.T), 16, symmetric=symmetric)
        origin = ir.tensor(w_KN, name=name)
        weight = replace(weight, floats=lambda a, b, w=w_KN: w.T[a:b], origin=origin)
        value.const_value = QuantizedTensor(weight, ir.DataType.FLOAT, True, name)
    before = quantized(model.graph.initializers["gu"])
    assert code_records(model).rewrites == 1
    gates_ups, down = (quantized(model.graph.initializers[name]) for name in ("gu", "d"))
    assert gates_ups is not None and gates_ups.weight is before.weight
    expected = quantize(weights["d"], 16, symmetric=symmetric)
    np.testing.assert_array_equal(down.numpy(), expected.values())
    np.testing.assert_array_equal(down.weight.make(3, 9).codes_NK, expected.codes_NK[3:9])
    assert not any(REQUANTIZED in v.metadata_props for v in model.graph.initializers.values())


def test_nothing_changes_unless_it_is_asked_for() -> None:
    body, constants, *_ = FOUND["merged"]
    for facts in (Facts(weights="e0m4"), Facts(weights="f16", records=True)):
        model = piece(body, *constants)
        facts.note(model)
        before = [value.const_value for value in model.graph.initializers.values()]
        assert code_records(model).rewrites == 0
        assert [value.const_value for value in model.graph.initializers.values()] == before


def coded(w_NK: Array, group: int, scale: str = "f16", symmetric: bool = False) -> QuantizedWeight:
    """A weight that came in codes."""
    codes = quantize(w_NK, group, symmetric=symmetric)
    form = (4, group, scale, None if symmetric else "u8")

    def make(first: int, stop: int):
        zero = None if codes.zero_NG is None else codes.zero_NG[first:stop]
        scales = codes.scale_NG[first:stop].astype(np.float32 if scale == "f32" else np.float16)
        return type(codes)(codes.codes_NK[first:stop], scales, zero, 4, group)

    return QuantizedWeight(*w_NK.shape, *form, make)


def random(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("group, K", [(16, 65), (32, 7), (64, 300)])
def test_columns_of_codes(group: int, K: int) -> None:
    """What they stand for is coded anew, some columns at a time."""
    weight = coded(random(1030, K), group)
    made = along_columns(weight, Form(16, False))
    assert (made.N, made.K, made.group, made.zero) == (K, 1030, 16, "u8") and made.floats is None
    whole = weight.make(0, 1030).values().T
    for first, stop in ((0, K), (K // 2, K), (3, 5)):
        found = made.make(first, stop)
        np.testing.assert_array_equal(found.values(), quantize(whole[first:stop], 16).values())


def test_rows_keep_their_codes_where_records_have_such() -> None:
    weight = coded(random(9, 100), 32, symmetric=True)
    assert along_rows(weight, Form(32, True)) is weight
    finer = along_rows(weight, Form(16, False))
    assert holds(weight, Form(16, False)) and (finer.group, finer.zero) == (16, "u8")
    np.testing.assert_array_equal(finer.make(2, 7).values(), weight.make(2, 7).values())
    wide = coded(random(9, 100), 32, "f32")
    assert holds(wide, Form(32, False)) and not holds(coded(random(9, 9), 16), Form(32, False))
    rounded = along_rows(wide, Form(32, False)).make(0, 9)
    assert rounded.scale_NG.dtype == np.float16
    np.testing.assert_array_equal(rounded.codes_NK, wide.make(0, 9).codes_NK)


def test_codes_of_a_source_that_are_made_anew_are_told() -> None:
    body, constants, *_ = FOUND["merged"]
    model = piece(body, *constants)
    for name in ("gu", "d"):
        value = model.graph.initializers[name]
        weight = coded(value.const_value.numpy().T.copy(), 16)
        value.const_value = QuantizedTensor(weight, ir.DataType.FLOAT, True, name)
    Facts(weights="source", records=True).note(model)
    assert code_records(model).rewrites == 1
    told = {n: REQUANTIZED in v.metadata_props for n, v in model.graph.initializers.items()}
    assert told == {"gu": False, "d": True}
