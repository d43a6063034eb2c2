"""What is fused around matmuls: biases, gated units, q/k/v with rotation and states, residuals."""

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import decoder, missed, op_types, same_outputs, text

from onnx_passes.cancel_transposes import cancel_transposes
from onnx_passes.fuse_bias import fuse_bias
from onnx_passes.fuse_glu import fuse_glu
from onnx_passes.fuse_qkv import fuse_qkv
from onnx_passes.fuse_residual_norm import fuse_residual_norm
from onnx_passes.fuse_rmsnorm import fuse_rmsnorm
from onnx_passes.fuse_rope import fuse_rope
from onnx_passes.kv_in_place import kv_in_place
from onnx_passes.split_gqa import split_gqa

HEAD = """<ir_version: 10, opset_import: ["": 20]>
before (float[B, S, 16] x) => (float[B, S, N] y) <%s> { %s }"""


def piece(body: str, constants: str = "float[16, 24] w, float[16, 24] u, float[24] b") -> ir.Model:
    return text(HEAD % (constants, body))


@pytest.mark.parametrize("add", ("Add(m, b)", "Add(b, m)"))
def test_bias(add: str) -> None:
    model = piece(f"m = MatMul(x, w)  y = {add}")
    with same_outputs(model, B=2, S=3):
        assert fuse_bias(model).rewrites == 1
    assert op_types(model) == ["Linear"]


@pytest.mark.parametrize(
    "body, constants",
    [
        ("m = MatMul(x, w)  y = Add(m, b)", "float[16, 24] w, float[1, 24] b"),
        ("m = MatMul(x, w)  y = Add(m, b)", "float[16, 24] w, float[1] b"),
        ("m = MatMul(x, w)  y = Add(m, m)", "float[16, 24] w"),
        ("m = MatMul(x, w)  n = Neg(m)  z = Add(m, b)  y = Add(n, z)",
         "float[16, 24] w, float[24] b"),
        ("w = Add(x, x)  t = Transpose<perm = [0, 2, 1]>(w)  m = MatMul(x, t)  y = Add(m, b)",
         "float[1] b"),
        ("m = MatMul(x, w)  y = Add(m, b)", "float[16] w, float[3] b"),
    ],
)  # fmt: skip
def test_what_is_no_bias(body: str, constants: str) -> None:
    model = piece(body, constants)
    assert missed(fuse_bias, model)[0] == 0


GLU = {
    "silu": "s = Sigmoid(g)  a = Mul(g, s)",
    "silu turned": "s = Sigmoid(g)  a = Mul(s, g)",
    "relu": "a = Relu(g)",
}


@pytest.mark.parametrize("act", GLU)
@pytest.mark.parametrize("product", ("Mul(a, p)", "Mul(p, a)"))
@pytest.mark.parametrize("biased", (False, True))
def test_gated_units(act: str, product: str, biased: bool) -> None:
    gate = "g0 = MatMul(x, w)  g = Add(g0, b)" if biased else "g = MatMul(x, w)"
    model = piece(f"{gate}  p = MatMul(x, u)  {GLU[act]}  y = {product}")
    with same_outputs(model, B=2, S=3):
        assert fuse_bias(model).rewrites == biased
        assert fuse_glu(model).rewrites == 1
    assert op_types(model) == ["Linear" if biased else "MatMul", "Glu"]
    assert model.graph[-1].overload == act.split()[0]


def test_swish_is_silu() -> None:
    source = HEAD % ("float[16, 24] w, float[16, 24] u", "g = MatMul(x, w)  p = MatMul(x, u)  %s")
    for alpha, count in (("", 1), ("<alpha = 2.0>", 0)):
        model = text((source % f"a = Swish{alpha}(g)  y = Mul(a, p)").replace('"": 20', '"": 24'))
        assert missed(fuse_glu, model)[0] == count


@pytest.mark.parametrize(
    "body, reason",
    [
        ("g = Neg(x)  p = MatMul(x, u)  a = Relu(g)  y = Mul(a, p)", "not a matmul"),
        ("z = Neg(x)  g = MatMul(z, w)  p = MatMul(x, u)  a = Relu(g)  y = Mul(a, p)",
         "do not read the same value"),
        ("g = MatMul(x, v)  p = MatMul(x, u)  a = Relu(g)  y = Mul(a, p)", "differ in width"),
    ],
)  # fmt: skip
def test_gates_that_do_not_merge(body: str, reason: str) -> None:
    count, reasons = missed(
        fuse_glu, piece(body, "float[16, 16] u, float[16, 1] v, float[16, 16] w")
    )
    assert count == 0 and reason in reasons[0]


@pytest.mark.parametrize("body", ("a = Tanh(g)", "s = Sigmoid(p)  a = Mul(g, s)"))
def test_other_activations_are_no_gated_unit(body: str) -> None:
    model = piece(f"g = MatMul(x, w)  p = MatMul(x, u)  {body}  y = Mul(a, p)")
    assert missed(fuse_glu, model) == (0, [])


def test_residual_and_norm() -> None:
    model = text("""<ir_version: 11, opset_import: ["": 23]>
    before (float[B, S, 16] x, float[B, S, 16] r) => (float[B, S, 16] y, float[B, S, 16] t)
    <float[16] g> { t = Add(x, r)  y = RMSNormalization(t, g) }""")
    with same_outputs(model, B=2, S=3):
        assert fuse_rmsnorm(model).rewrites == 1
        assert fuse_residual_norm(model).rewrites == 1
    assert op_types(model) == ["AddRmsNorm"]
    assert [output.name for output in model.graph.outputs] == ["y", "t"]


@pytest.mark.parametrize("inputs, add", [("float[B, 1, 16] r", "Add(x, r)"), ("", "Add(x, c)")])
def test_other_sums_are_no_residual(inputs: str, add: str) -> None:
    inputs = f", {inputs}" if inputs else ""
    model = text(f"""<ir_version: 11, opset_import: ["": 23]>
    before (float[B, S, 16] x{inputs}) => (float[B, S, 16] y) <float[16] g, float[16] c>
    {{ t = {add}  y = RMSNormalization(t, g) }}""")
    assert missed(fuse_rmsnorm, model)[0] == 1
    assert fuse_residual_norm(model).rewrites == 0


LAYER = """<ir_version: 10, opset_import: ["": 23, "com.microsoft": 1]>
before (float[1, S, 24] x, int64[1, total] mask, float[1, 2, past, 16] past_k,
  float[1, 2, past, 16] past_v)
  => (float[1, S, 64] y, float[1, 2, total, 16] present_k, float[1, 2, total, 16] present_v)
<int64 unit = {1}, int64[1] one = {1}, float[48, 8] c, float[48, 8] s, %s>
{ sum = ReduceSum<keepdims = 0>(mask, one)  less = Sub(sum, unit)  lengths = Cast<to = 6>(less)
  shape = Shape<start = 1, end = 2>(mask)  t0 = Squeeze(shape)  total = Cast<to = 6>(t0)  %s
  y, present_k, present_v = com.microsoft.GroupQueryAttention <num_heads = 4, kv_num_heads = 2,
  do_rotary = 1> (%s, past_k, past_v, lengths, total, c, s) }"""
APART = (
    "float[24, 64] wq, float[24, 32] wk, float[24, 32] wv, float[32] bk",
    "q = MatMul(x, wq)  k0 = MatMul(x, wk)  k = Add(k0, bk)  v = MatMul(x, wv)",
    "q, k, v",
)
PACKED = ("float[24, 128] w", "qkv = MatMul(x, w)", "qkv, , ")


def layer(parts: tuple[str, str, str]) -> ir.Model:
    return decoder(LAYER % parts, context=32, S="seq")


@pytest.mark.parametrize("past, seq", [(0, 9), (6, 1)])
@pytest.mark.parametrize("parts, matmul", [(APART, "Linear"), (PACKED, "MatMul")])
def test_qkv_become_one(past: int, seq: int, parts: tuple[str, str, str], matmul: str) -> None:
    model = layer(parts)
    feeds = {
        "past": np.array([past]),
        "start": np.array([0]),
        "mask": np.ones((1, past + seq), int),
    }
    with same_outputs(model, feeds, seq=seq, past=past, tolerance=1e-4):
        assert split_gqa(model).rewrites == 1
        for run_pass in (fuse_rope, fuse_bias, cancel_transposes):
            missed(run_pass, model)
    with_states = layer(parts)
    for run_pass in (split_gqa, kv_in_place, cancel_transposes, fuse_bias):
        missed(run_pass, with_states)
    slots = {f"state.layers.0.{x}": np.zeros((1, 2, 32, 16), np.float32) for x in "kv"}
    with same_outputs(with_states, feeds | slots, seq=seq, past=past, tolerance=1e-4):
        assert fuse_qkv(with_states).rewrites == 1
    assert op_types(with_states) == [matmul, "RopeKvWrite", "Attention", "Reshape"]
    node = with_states.graph[1]
    assert (node.attributes["heads"].as_int(), node.attributes["kv_heads"].as_int()) == (4, 2)


@pytest.mark.parametrize(
    "change, reason",
    [
        (("k0 = MatMul(x, wk)", "z = Neg(x)  k0 = MatMul(z, wk)"), "do not read the same value"),
        (("v = MatMul(x, wv)", "v0 = MatMul(x, wv)  v = Tanh(v0)"), "not matmuls with constant"),
    ],
)
def test_qkv_that_stay_apart(change: tuple[str, str], reason: str) -> None:
    model = layer((APART[0], APART[1].replace(*change), APART[2]))
    for run_pass in (split_gqa, kv_in_place, cancel_transposes, fuse_bias):
        missed(run_pass, model)
    count, reasons = missed(fuse_qkv, model)
    assert count == 0 and reason in reasons[0]


def test_transposes_of_different_ranks_are_left_alone() -> None:
    model = text("""<ir_version: 10, opset_import: ["": 20]> before (float x) => (float y)
    { a = Transpose<perm = [1, 0]>(x)  y0 = Transpose<perm = [0, 2, 1]>(a)  y = Neg(y0) }""")
    assert cancel_transposes(model).rewrites == 0


@pytest.mark.parametrize(
    "body, left",
    [
        ("a = Transpose<perm = [1, 2, 0]>(x)  b = Transpose<perm = [2, 0, 1]>(a)  y = Neg(b)",
         ["Neg"]),
        ("a = Transpose<perm = [1, 2, 0]>(x)  b = Transpose<perm = [1, 2, 0]>(a)  y = Neg(b)",
         ["Transpose", "Transpose", "Neg"]),
        ("a = Transpose(x)  b = Transpose(a)  y = Neg(b)", ["Transpose", "Transpose", "Neg"]),
        ("a = Reshape(x, flat)  b = Reshape(a, back)  y = Neg(b)", ["Neg"]),
        ("a = Reshape(x, flat)  b = Reshape(a, other)  y = Neg(b)", ["Reshape", "Neg"]),
        ("a = Reshape(x, flat)  b = Reshape(a, kept)  y = Neg(b)", ["Reshape", "Reshape", "Neg"]),
        ("a = Reshape(x, flat)  y = Reshape(a, back)", ["Reshape", "Reshape"]),
    ],
)  # fmt: skip
def test_transposes_and_reshapes_cancel(body: str, left: list[str]) -> None:
    model = text(f"""<ir_version: 10, opset_import: ["": 20]>
    before (float[2, 3, 4] x) => (float[a, b, c] y)
    <int64[2] flat = {{2, -1}}, int64[3] back = {{2, 3, 4}}, int64[2] other = {{3, 8}},
     int64[2] kept = {{0, -1}}>
    {{ {body} }}""")
    with same_outputs(model):
        cancel_transposes(model)
    assert op_types(model) == left
