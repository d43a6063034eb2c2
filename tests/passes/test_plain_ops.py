"""ONNX Runtime's own ops as ONNX's: what they become computes the same, in ONNX Runtime itself."""

import numpy as np
import onnx_ir as ir
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as runtime
from pass_helpers import decoder, missed, noted, op_types, same_outputs, text
from tiny_decoder import decoder_text, tiny

import onnx_passes
from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.plain_ops import SPELLINGS, plain_ops
from onnx_passes.plain_rules import ACTIVATIONS
from onnx_passes.unbundle import unbundle

HEAD = '<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]> before '


def call(inputs: str, outputs: str, op: str, weights: str = "", names: str = "y") -> ir.Model:
    """A graph of one node of com.microsoft that makes `names`."""
    head = f"{HEAD}({inputs}) => ({outputs}) <{weights}>"
    return text(f"{head} {{ {names} = com.microsoft.{op} }}")


X = "float[B, S, 24] x"
Y = "float[B, S, 24] y"
CASES = {
    "silu": (X, Y, "QuickGelu<alpha = 1.0>(x)", "", ["Sigmoid", "Mul"]),
    "quick gelu": (X, Y, "QuickGelu(x)", "", ["Mul", "Sigmoid", "Mul"]),
    "gelu": (X, Y, "Gelu(x)", "", None),
    "bias gelu": (X, Y, "BiasGelu(x, b)", "float[24] b", None),
    "fast gelu": (X, Y, "FastGelu(x)", "", None),
    "fast gelu, bias": (X, Y, "FastGelu(x, b)", "float[24] b", None),
    "norm": (X, Y, "SkipLayerNormalization(x, x, g)", "float[24] g", None),
    "triangle": ("float[S, S] x", "float[S, S] y", "Trilu<upper = 0>(x)", "", ["Trilu"]),
    "matmul": (X, "float[B, S, 5] y", "FusedMatMul(x, w)", "float[24, 5] w", ["MatMul"]),
    "scaled": (
        *(X, "float[B, S, 5] y", "FusedMatMul<alpha = 0.25, transB = 1>(x, w)"),
        *("float[5, 24] w", ["Transpose", "MatMul", "Mul"]),
    ),
    "older name": (
        *("float[B, 24, S] x", "float[B, S, 5] y", "TransposeMatMul<transA = 1>(x, w)"),
        *("float[24, 5] w", ["Transpose", "MatMul"]),
    ),
    "gated add": (
        *(f"{X}, float[B, S, 24] r, float[B, S, 1] gate", Y, "GatedAdd(x, r, gate)"),
        *("", ["Mul", "Add"]),
    ),
    "batches turned": (
        *("float[S, B, 24] x, float[S, B, 24] k", "float[B, S, S] y"),
        "FusedMatMul<transBatchA = 1, transBatchB = 1, transB = 1>(x, k)",
        *("", ["Transpose", "Transpose", "MatMul"]),
    ),
    "batches and rows turned": (
        *("float[24, B, 3, S] x, float[B, 3, 24, 5] k", "float[B, 3, S, 5] y"),
        "FusedMatMul<transBatchA = 1, transA = 1>(x, k)",
        *("", ["Transpose", "MatMul"]),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_computes_the_same(case: str) -> None:
    inputs, outputs, op, weights, expected = CASES[case]
    model = call(inputs, outputs, op, weights)
    with same_outputs(model, B=3, S=4):
        assert plain_ops(model).rewrites == 1
    assert all(node.domain == "" for node in model.graph)
    assert expected is None or op_types(model) == expected


def test_the_sum_before_a_norm_is_an_output_too() -> None:
    weights = "float[24] g, float[24] b, float[24] c, float[1, 4, 24] k"
    op = "SkipLayerNormalization<epsilon = 0.01>(x, k, g, b, c)"
    model = call(X, f"{Y}, float[B, S, 24] total", op, weights, "y, mean, deviation, total")
    with same_outputs(model, B=1, S=4):
        assert plain_ops(model).rewrites == 1


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gemm_with_an_activation(activation: str) -> None:
    keys = ("activation_alpha", "activation_beta")[: len(ACTIVATIONS[activation])]
    own = "".join(f", {key} = {value}" for key, value in zip(keys, (0.3, 0.4), strict=False))
    kind = f'activation = "{activation}"'
    op = f"FusedGemm<alpha = 0.5, beta = 2.0, transB = 1, {kind} {own}>(x, w, b)"
    model = call("float[S, 24] x", "float[S, 5] y", op, "float[5, 24] w, float[5] b")
    with same_outputs(model, S=4):
        assert plain_ops(model).rewrites == unbundle(model).rewrites == 1
    left = set(op_types(model))
    assert {"MatMul", "Mul", "Add", activation} <= left and not left & {"Gemm", "FusedGemm"}


@pytest.mark.parametrize("attributes", ["", "transA = 1", "alpha = 0.5, transB = 1", "beta = 3.0"])
@pytest.mark.parametrize("bias", ["", "float[5] b", "float[1, 5] b", "float b", "float[S, 5] b"])
def test_gemm_is_a_product_and_a_sum(bias: str, attributes: str) -> None:
    x = "float[24, S] x" if "transA" in attributes else "float[S, 24] x"
    w = "float[5, 24] w" if "transB" in attributes else "float[24, 5] w"
    inputs = f"{x}, {bias}" if "S" in bias else x
    weights = w if not bias or "S" in bias else f"{w}, {bias}"
    third = ", b" if bias else ""
    source = f"{HEAD}({inputs}) => (float[S, 5] y) <{weights}>"
    model = text(f"{source} {{ y = Gemm<{attributes}>(x, w{third}) }}".replace("Gemm<>", "Gemm"))
    with same_outputs(model, S=4):
        assert unbundle(model).rewrites == 1
    assert {"MatMul", *(["Add"] if bias else [])} <= set(op_types(model)) - {"Gemm"}


@pytest.mark.parametrize("op", SPELLINGS)
def test_every_attribute_of_the_op_is_known(op: str) -> None:
    """What this ONNX Runtime's schema has and a rule doesn't know is refused, not passed over."""
    schemas = {s.name: s for s in runtime.get_all_operator_schema() if s.domain == "com.microsoft"}
    assert set(SPELLINGS[op].attributes) == set(schemas[op].attributes)


@pytest.mark.parametrize(
    "op, reason",
    [
        ("QuickGelu<beta = 1.0>(x)", "its attribute beta is not known"),
        ('FusedGemm<activation = "Swish">(x, x)', "its activation 'Swish' is not known"),
    ],
)
def test_leaves_alone_and_says_why(op: str, reason: str) -> None:
    count, reasons = missed(plain_ops, call("float[24, 24] x", "float[24, 24] y", op))
    assert count == 0 and reasons == [f"{op.split('<')[0]} y: {reason}"]


# --- attention -----------------------------------------------------------------------------------

MHA = """<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>
before (float[1, seq, 64] q, float[1, seq, 64] k, float[1, seq, 64] v %(inputs)s)
  => (float[1, seq, 64] y %(outputs)s) <float[192] b>
{ y %(presents)s = com.microsoft.MultiHeadAttention<num_heads = 4 %(attributes)s>
  (q, k, v %(more)s) }"""
CACHE = {
    "inputs": ", float[1, 4, past, 16] past_k, float[1, 4, past, 16] past_v",
    "outputs": ", float[1, 4, total, 16] present_k, float[1, 4, total, 16] present_v",
    "presents": ", present_k, present_v",
}


def mha(**parts: str) -> ir.Model:
    empty = dict.fromkeys(("inputs", "outputs", "presents", "attributes", "more"), "")
    return decoder(MHA % {**empty, **parts}, context=40)


@pytest.mark.parametrize("past, seq", [(0, 1), (0, 9), (7, 1), (5, 4)])
@pytest.mark.parametrize("scale", ["", ", scale = 0.5"])
def test_attention_over_a_cache_with_a_bias(past: int, seq: int, scale: str) -> None:
    biased = {**CACHE, "inputs": CACHE["inputs"] + ", float[1, 1, seq, total] bias"}
    model = mha(**biased, attributes=scale, more=", b, , bias, past_k, past_v")
    with same_outputs(model, seq=seq, past=past, total=past + seq, tolerance=2e-5):
        assert plain_ops(model).rewrites == 1
    assert op_types(model).count("Softmax") == 1 and op_types(model).count("Concat") == 2


def test_attention_without_a_cache() -> None:
    model = mha(inputs=", float[1, 4, seq, seq] bias", more=", , , bias")
    with same_outputs(model, seq=5, past=0, tolerance=2e-5):
        assert plain_ops(model).rewrites == 1


@pytest.mark.parametrize("past, seq", [(0, 9), (7, 1)])
def test_causal_attention_over_a_cache(past: int, seq: int) -> None:
    model = mha(**CACHE, attributes=", unidirectional = 1", more=", , , , past_k, past_v")
    counts = {"past": np.array([past]), "start": np.array([0]), "rows": np.array([seq])}
    with same_outputs(model, counts, seq=seq, past=past, tolerance=2e-5):
        assert plain_ops(model).rewrites == 1
    (node,) = [n for n in model.graph if n.op_type == "Attention"]
    assert node.attributes["window"].as_int() == NO_WINDOW


@pytest.mark.parametrize(
    "parts, reason",
    [
        ({"inputs": ", int32[1, seq] keys", "more": ", , keys"}, "its input key_padding_mask"),
        ({"attributes": ", unidirectional = 1"}, "causal with a bias or without a cache"),
        ({"attributes": ", do_rotary = 1"}, "its attribute do_rotary is not known"),
    ],
)
def test_attention_that_is_left_alone(parts: dict[str, str], reason: str) -> None:
    count, reasons = missed(plain_ops, mha(**parts))
    assert count == 0 and reason in reasons[0]


def test_a_decoder_with_the_op_reaches_the_form_of_the_others() -> None:
    """As builders write it: keys and values repeated for every query head, joined for the op."""
    source = decoder_text().replace('["": 18]', '["": 18, "com.microsoft": 1]')
    start, end = source.index("kt = Transpose"), source.index("o = MatMul(o2, wo)")
    joined = "  ".join(
        f"{x}t = Transpose<perm = [0, 2, 1, 3]>({long})  {x}3 = Reshape({x}t, flat)"
        for x, long in (("qq", "qr"), ("kk", "ke"), ("vv", "ve"))
    )
    call = "o2 = com.microsoft.MultiHeadAttention<num_heads = 4>(qq3, kk3, vv3, , , bias)"
    flat = "flat = Concat<axis = 0>(ub, minus, v32)"
    body = f"{flat}  {joined}  {call}\n  "
    source = source[:start] + body + source[end:]
    source = source.replace("int64[1] v8 = {8},", "int64[1] v8 = {8}, int64[1] v32 = {32},")
    plain, model = tiny(), noted(text(source), context=32, chunk=8)
    for each in (plain, model):
        for _ in onnx_passes.rewrite(each):
            pass
    assert op_types(model) == op_types(plain)


def test_heads_that_were_joined_just_before_are_not_split_again() -> None:
    """Keys repeated for every query head stay next to their cache, where they are recognised."""
    source = """<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>
    before (float[1, S, 64] q, float[1, 4, S, 16] k4, float[1, S, 64] v)
      => (float[1, S, 64] y) <int64[3] flat = {0, 0, 64}>
    { kt = Transpose<perm = [0, 2, 1, 3]>(k4)  k = Reshape(kt, flat)
      y = com.microsoft.MultiHeadAttention<num_heads = 4>(q, k, v) }"""
    model = text(source)
    with same_outputs(model, S=5, tolerance=2e-5):
        assert plain_ops(model).rewrites == 1
    assert op_types(model).count("Reshape") == 3  # of q, v and y
