"""q, k and v of any spelling as one product, with what stands between it and attention."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import missed, noted, op_types, same_outputs, text

from onnx_passes.fuse_qkv import fuse_qkv
from onnx_passes.weights.e0m4 import quantize
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight, quantized
from opencl_kernels.formats import Quantized

LAYER = """<ir_version: 10, opset_import: ["": 23, "pocket": 1]>
layer (float[1, seq, 24] x, float[1, %(G)d, 32, 10] state_k, float[1, %(G)d, 32, 10] state_v,
  int64[1] past, int64[1] start)
  => (float[1, seq, 40] y, float[1, %(G)d, 32, 10] out_k, float[1, %(G)d, 32, 10] out_v)
<float[24, 40] wq, float[24, %(N)d] wk, float[24, %(N)d] wv, float[%(N)d] bk, float[24, %(all)d] w,
 float[%(all)d] b, float[10] gq, float[10] gk, float[10] bq, float[40] gw,
 float[%(N)d] gn, float[20] half, float[32, 3] c,
 float[32, 3] s,
 float scale = {0.3}, int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2}, int64[1] zero = {0},
 int64[1] two = {2}, int64[1] three = {3}, int64[1] least = {-100},
 int64[1] end = {9223372036854775807}, int64[1] m1 = {-1},
 int64[1] m2 = {-2}, int64[2] flat = {-1, 24}, int64[3] back = {1, -1, %(all)d},
 int64[4] heads = {0, 0, 4, 10}, int64[4] groups = {0, 0, %(G)d, 10},
 int64[4] halves = {0, 0, 2, 20}, int64[3] together = {0, 0, %(N)d},
 int64[3] merged = {0, 0, 40}, int64[4] odd = {1, 2, -1, 10}, int64[5] each = {1, -1, 4, 3, 10},
 int64[5] shared = {1, -1, 2, 4, 10},
 int64[3] parts = {40, %(N)d, %(N)d}, int64[3] turned = {%(N)d, 40, %(N)d}>
{ %(body)s
  out_k = pocket.KvWrite(state_k, k, past)  out_v = pocket.KvWrite(state_v, v, past)
  %(attention)s  y = Reshape(a, merged) }"""
ATTENTION = "a = pocket.Attention<scale = 0.3, window = 100>(q, out_k, out_v, past, start)"
APART = """q0 = MatMul(x, wq)  q1 = Reshape(q0, heads)  k0 = pocket.Linear(x, wk, bk)
  k1 = Reshape(k0, groups)  v0 = MatMul(x, wv)  v = Reshape(v0, groups)"""
AS_IT_IS = "q = Identity(q1)  k = Identity(k1)"
NORM, OTHER = "pocket.RmsNorm<eps = 0.01>", "pocket.RmsNorm<eps = 0.1>"
ALL = f"""q0 = MatMul(x, wq)  qn = {NORM}(q0, gw)  q1 = Reshape(qn, heads)
  k0 = pocket.Linear(x, wk, bk)  kn = {NORM}(k0, gn)  k1 = Reshape(kn, groups)
  v0 = MatMul(x, wv)  v = Reshape(v0, groups)"""
ROPE = "q = pocket.Rope({q}, c, s, past, start)  k = pocket.Rope({k}, c, s, past, start)"


def layer(body: str, groups: int = 2, attention: str = ATTENTION) -> ir.Model:
    """A layer whose body makes q, k, v [1, seq, heads, 10] of x."""
    sizes = {"G": groups, "N": groups * 10, "all": 40 + groups * 20}
    model = noted(text(LAYER % {**sizes, "body": body, "attention": attention}), context=32)
    for value in model.graph.inputs:
        value.name = (value.name or "").replace("state_", "state.layers.0.")
    return model


FORMS = {
    "nothing between": (f"{APART}  {AS_IT_IS}", 2, ["SplitKvWrite"]),
    "a rotation": (f"{APART}  {ROPE.format(q='q1', k='k1')}", 2, ["RopeKvWrite"]),
    "norms, head-major, and a rotation": (
        f"""{APART}  qt = Transpose<perm = [0, 2, 1, 3]>(q1)  qn = {NORM}(qt, gq)
        q2 = Transpose<perm = [0, 2, 1, 3]>(qn)  k2 = {NORM}(k1, gk)
        {ROPE.format(q="q2", k="k2")}""",
        2,
        ["NormHeads", "RopeKvWrite"],
    ),
    "norms alone": (
        f"""{APART}  q = {NORM}(q1, gq)  k = {NORM}(k1, gk)""",
        2,
        ["NormHeads", "SplitKvWrite"],
    ),
    "norms after the rotation": (
        f"""{APART}  {ROPE.format(q="q1", k="k1").replace("q =", "q2 =").replace("k =", "k2 =")}
        q = {NORM}(q2, gq)  k = {NORM}(k2, gk)""",
        2,
        ["RopeKvWrite"],
    ),
    "layer norms": (
        f"""{APART}  q2 = LayerNormalization<epsilon = 0.01>(q1, gq, bq)
        k2 = LayerNormalization<epsilon = 0.01>(k1, gk)  {ROPE.format(q="q2", k="k2")}""",
        2,
        ["NormHeads", "RopeKvWrite"],
    ),
    "norms of all heads, and a rotation": (
        f"""{ALL}  {ROPE.format(q="q1", k="k1")}""",
        2,
        ["NormHeads", "RopeKvWrite"],
    ),
    "norms of all heads, one for keys": (f"{ALL}  {AS_IT_IS}", 1, ["NormHeads", "SplitKvWrite"]),
    "norms of all heads, of one product": (
        f"""qkv = MatMul(x, w)  q0, k0, v0 = Split<axis = -1>(qkv, parts)  qn = {NORM}(q0, gw)
        q1 = Reshape(qn, heads)  kn = {NORM}(k0, gn)  k1 = Reshape(kn, groups)
        v = Reshape(v0, groups)  {AS_IT_IS}""",
        2,
        ["NormHeads", "SplitKvWrite"],
    ),
    "one product, split": (
        f"""qkv = MatMul(x, w)  q0, k0, v0 = Split<axis = -1>(qkv, parts)  q1 = Reshape(q0, heads)
        k1 = Reshape(k0, groups)  v = Reshape(v0, groups)  {AS_IT_IS}""",
        2,
        ["SplitKvWrite"],
    ),
    "one product of values, queries and keys": (
        f"""qkv = pocket.Linear(x, w, b)  v0, q0, k0 = Split<axis = -1>(qkv, turned)
        q1 = Reshape(q0, heads)  k1 = Reshape(k0, groups)  v = Reshape(v0, groups)  {AS_IT_IS}""",
        2,
        ["SplitKvWrite"],
    ),
    "one product, q, k and v of each head together": (
        f"""qkv = pocket.Linear(x, w, b)  h = Reshape(qkv, each)  q1 = Gather<axis = 3>(h, i0)
        k1 = Gather<axis = 3>(h, i1)  v = Gather<axis = 3>(h, i2)  {ROPE.format(q="q1", k="k1")}""",
        4,
        ["RopeKvWrite"],
    ),
    "one product, heads that share a key together": (
        f"""qkv = MatMul(x, w)  h = Reshape(qkv, shared)  q0 = Slice(h, zero, m2, three)
        q1 = Reshape(q0, heads)  k0 = Slice(h, m2, m1, three)  k1 = Reshape(k0, groups)
        v0 = Slice(h, m1, end, three)  v = Reshape(v0, groups)  {AS_IT_IS}""",
        2,
        ["SplitKvWrite"],
    ),
    "one product of flattened tokens": (
        f"""thin = Reshape(x, flat)  m = pocket.Linear(thin, w, b)  qkv = Reshape(m, back)
        q0, k0, v0 = Split<axis = -1>(qkv, parts)  q1 = Reshape(q0, heads)
        k1 = Reshape(k0, groups)  v = Reshape(v0, groups)  {AS_IT_IS}""",
        2,
        ["Reshape", "SplitKvWrite"],
    ),
}


def feeds(past: int) -> dict[str, np.ndarray]:
    return {"past": np.array([past]), "start": np.array([0])}


@pytest.mark.parametrize("past, seq", [(0, 5), (6, 1)])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_becomes_one_product_and_one_write(name: str, past: int, seq: int) -> None:
    body, groups, expected = FORMS[name]
    model = layer(body, groups)
    with same_outputs(model, feeds(past), tolerance=1e-4, seq=seq, past=past):
        assert fuse_qkv(model).rewrites == 1
    made = op_types(model)
    assert sum(made.count(op) for op in ("MatMul", "Linear")) == 1
    others = [op for op in made if op not in ("MatMul", "Linear")]
    ends = ["Attention", "Reshape"]
    assert others in ([*expected, *ends], ["Reshape", *expected, *ends])


SCORES = """kr = pocket.KvRead(out_k, k, past)  vr = pocket.KvRead(out_v, v, past)
  kt = Transpose<perm = [0, 1, 3, 2]>(kr)  qt = Transpose<perm = [0, 2, 1, 3]>(q)
  qs = Mul(qt, scale)  s0 = MatMul(qs, kt)  s1 = Softmax(s0)  a0 = MatMul(s1, vr)
  a = Transpose<perm = [0, 2, 1, 3]>(a0)"""


@pytest.mark.parametrize("between", [ROPE.format(q="q1", k="k1"), AS_IT_IS])
def test_an_attention_that_is_spelled_out_keeps_its_scores(between: str) -> None:
    model = layer(f"{APART}  {between}", 4, SCORES)
    with same_outputs(model, feeds(3), tolerance=1e-4, seq=4, past=3):
        assert fuse_qkv(model).rewrites == 1
    assert op_types(model)[1] in ("RopeKvWrite", "SplitKvWrite")
    assert op_types(model).count("Softmax") == 1


def test_head_major_queries_of_scores_that_are_spelled_out() -> None:
    body = f"""{APART}  k = {NORM}(k1, gk)
    qh = Transpose<perm = [0, 2, 1, 3]>(q1)  qn = {NORM}(qh, gq)"""
    scores = SCORES.replace("qt = Transpose<perm = [0, 2, 1, 3]>(q)", "").replace("qt,", "qn,")
    model = layer(body, 4, scores)
    with same_outputs(model, feeds(3), tolerance=1e-4, seq=4, past=3):
        assert fuse_qkv(model).rewrites == 1
    assert op_types(model)[:4] == ["Linear", "NormHeads", "SplitKvWrite", "Transpose"]


def test_codes_stay_codes_where_columns_are_picked() -> None:
    body, groups, _ = FORMS["one product, q, k and v of each head together"]
    model = layer(body, groups)
    weight = model.graph.initializers["w"]
    assert weight.const_value is not None
    made = quantize(weight.const_value.numpy().T.copy(), 16, symmetric=False)

    def rows(first: int, stop: int) -> Quantized:
        zero = None if made.zero_NG is None else made.zero_NG[first:stop]
        return replace(
            made,
            codes_NK=made.codes_NK[first:stop],
            scale_NG=made.scale_NG[first:stop],
            zero_NG=zero,
        )

    codes = QuantizedWeight(120, 24, 4, 16, "f16", "u8", rows)
    weight.const_value = QuantizedTensor(codes, ir.DataType.FLOAT, True, "w")
    with same_outputs(model, feeds(2), tolerance=1e-4, seq=3, past=2):
        assert fuse_qkv(model).rewrites == 1
    assert quantized(model.graph[0].inputs[1]) is not None


UNFIT = {
    "different tables": (
        f"""{APART}  q = pocket.Rope(q1, c, s, past, start)
        k = pocket.Rope(k1, s, c, past, start)""",
        "rotated by different tables",
    ),
    "a norm of the keys alone": (
        f"""{APART}  q = Identity(q1)  k = {NORM}(k1, gk)""",
        "different norms or rotations",
    ),
    "different epsilons": (
        f"""{APART}  q = {OTHER}(q1, gq)  k = {NORM}(k1, gk)""",
        "different epsilons",
    ),
    "two norms": (
        f"""{APART}  q2 = {OTHER}(q1, gq)  k2 = {OTHER}(k1, gk)
        q = {OTHER}(q2, gq)  k = {OTHER}(k2, gk)""",
        "more than one norm and one rotation",
    ),
    "normed values": (
        f"""{APART.replace("v = ", "v1 = ")}  v = {OTHER}(v1, gk)  {AS_IT_IS}""",
        "the values are normed",
    ),
    "a norm over some heads": (
        f"""q00 = MatMul(x, wq)  q01 = Reshape(q00, halves)
        {APART.replace("MatMul(x, wq)", f"{OTHER}(q01, half)")}  {AS_IT_IS}""",
        "what is normed is not a head",
    ),
    "a norm over all heads, which are moved after it": (
        f"""{ALL.replace("q1 =", "q2 =")}  q1 = Slice(q2, m1, least, two, m1)  {AS_IT_IS}""",
        "what is normed is not a head",
    ),
    "a norm over all queries, and one of each key": (
        f"""q00 = MatMul(x, wq)  {APART.replace("MatMul(x, wq)", f"{NORM}(q00, gw)")}
        q = Identity(q1)  k = {NORM}(k1, gk)""",
        "each head is normed",
    ),
    "norms over all heads after the rotation": (
        f"""{APART}  {ROPE.format(q="q1", k="k1").replace("q =", "q2 =").replace("k =", "k2 =")}
        q3 = Reshape(q2, merged)  q4 = {NORM}(q3, gw)  q = Reshape(q4, heads)
        k3 = Reshape(k2, together)  k4 = {NORM}(k3, gn)  k = Reshape(k4, groups)""",
        "after a rotation",
    ),
    "keys that are values, too": (
        f"""q0 = MatMul(x, wq)  q1 = Reshape(q0, heads)  k0 = MatMul(x, wk)
        k1 = Reshape(k0, groups)  v = Reshape(k0, groups)  {AS_IT_IS}""",
        "share columns",
    ),
    "tokens that change places": (
        f"""k3 = pocket.Linear(x, wk, bk)  k4 = Reshape(k3, odd)
        {APART.replace("pocket.Linear(x, wk, bk)", "Transpose<perm = [0, 2, 1, 3]>(k4)")}
        {AS_IT_IS}""",
        "not split from the columns of a projection",
    ),
    "heads that are moved after they are rotated": (
        f"""{APART}  {ROPE.format(q="q1", k="k1").replace("k =", "k2 =")}
        kr = Slice(k2, m1, least, two, m1)  k = Identity(kr)""",
        "heads are moved after they are rotated",
    ),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_no_kernel_computes_stays_and_says_why(name: str) -> None:
    body, reason = UNFIT[name]
    count, reasons = missed(fuse_qkv, layer(body))
    assert count == 0 and reason in reasons[0], reasons


def test_projections_that_something_else_reads_stay() -> None:
    model = layer(f"{APART}  {AS_IT_IS}  more = Neg(v0)")
    model.graph.outputs.append(next(n.outputs[0] for n in model.graph if n.op_type == "Neg"))
    count, reasons = missed(fuse_qkv, model)
    assert count == 0 and "something else reads the projections" in reasons[0]
