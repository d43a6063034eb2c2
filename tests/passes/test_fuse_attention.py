"""Attention in every spelling, and masks by what they compute."""

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import decoder, missed, op_types, same_outputs

from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.fuse_attention import fuse_attention

CONTEXT = 24
# Where the queries and keys stand, and the causal mask of them: [1, 1, S, T] booleans.
PLACES = """qs = Shape<start = 2, end = 3>(q)  seq = Squeeze(qs)
  ts = Shape<start = 2, end = 3>(k)  all = Squeeze(ts)  before0 = Sub(all, seq)
  index = Range(nil, seq, unit)  at0 = Add(index, before0)  at = Unsqueeze(at0, last)
  cols = Range(nil, all, unit)"""
MASKS = {
    "causal": "ok = LessOrEqual(cols, at)",
    "window": "c = LessOrEqual(cols, at)  back = Sub(at, w)  near = Greater(cols, back)"
    "  ok = And(c, near)",
}
PADDED = "real0 = Cast<to = 9>(mask)  real = Unsqueeze(real0, axes01)  seen = And(ok, real)"
UNPADDED = "seen = Unsqueeze(ok, axes01)"
ADDED = "bias = Where(seen, fzero, low)  m = Add(s, bias)"
WHERE = "m = Where(seen, s, low)"
HEAD = """<ir_version: 10, opset_import: ["": 18]>
before (float[1, 6, S, 4] q, float[1, G, total, 4] k, float[1, G, total, 4] v,
  int64[1, total] mask) => (float[1, 6, S, 4] y)
<int64 nil = {0}, int64 unit = {1}, int64[1] last = {1}, int64[2] axes01 = {0, 1},
 float fzero = {0}, float low = {-30000.0}, float half = {0.5}, float two = {2.0},
 int64[1] axis2 = {2}, int64[5] five = {1, 1, 3, 1, 1}, int64[4] four = {1, 6, -1, 4},
 int64[3] head = {1, 2, 3}, int64[1] tail = {4}, int64[4] turned = {1, 6, 4, -1},
 int64 w = {%(w)s}>
{ %(body)s }"""


def attention(
    mask: str = "causal",
    padded: bool = True,
    apply: str = ADDED,
    scale: str = "s = Mul(s0, half)",
    queries: str = "qq = Identity(q)",
    keys: str = "kt = Transpose<perm = [0, 1, 3, 2]>(k)",
    values: str = "vv = Identity(v)",
    guard: str = "g = Identity(p)",
    groups: str = "6",
    w: str = "5",
    opset: int = 18,
) -> ir.Model:
    """One attention, spelled as told."""
    parts = (PLACES, MASKS.get(mask, mask), PADDED if padded else UNPADDED, queries, keys, values)
    rest = f"s0 = MatMul(qq, kt)  {scale}  {apply}  p = Softmax<axis = -1>(m)  {guard}"
    body = "  ".join((*parts, rest, "y = MatMul(g, vv)"))
    source = (HEAD % {"w": w, "body": body}).replace("G,", f"{groups},")
    return plain(source.replace('"": 18', f'"": {opset}'))


def plain(source: str) -> ir.Model:
    """Without the Identity nodes that make the text regular."""
    model = decoder(source, context=CONTEXT, S="seq")
    for node in list(model.graph):
        if node.op_type == "Identity":
            ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
            model.graph.remove(node, safe=True)
    return model


def feeds(past: int, seq: int, padding: int = 0) -> dict[str, np.ndarray]:
    mask = (np.arange(past + seq) >= padding).astype(np.int64)[None]
    return {"mask": mask, "past": np.array([past]), "start": np.array([padding])}


def fuses(model: ir.Model, past: int = 5, seq: int = 7, padding: int = 0) -> ir.Node:
    """The pocket op of an attention that must fuse, after comparing what it computes."""
    with same_outputs(model, feeds(past, seq, padding), seq=seq, past=past):
        assert fuse_attention(model).rewrites == 1
    assert op_types(model) == ["Transpose", "Attention", "Transpose"]
    return next(node for node in model.graph if node.op_type == "Attention")


@pytest.mark.parametrize("past, seq", [(0, 1), (0, 9), (5, 7), (12, 1)])
@pytest.mark.parametrize("padded", (True, False))
@pytest.mark.parametrize("apply", (ADDED, WHERE))
def test_causal_masks(past: int, seq: int, padded: bool, apply: str) -> None:
    node = fuses(attention(padded=padded, apply=apply), past, seq)
    assert node.attributes["window"].as_int() == NO_WINDOW
    assert node.attributes["scale"].as_float() == pytest.approx(0.5)


@pytest.mark.parametrize("w", (1, 2, 5, 11, 23, 24, 100))
def test_windows_smaller_and_larger_than_the_context(w: int) -> None:
    node = fuses(attention("window", w=str(w)), past=10, seq=6)
    assert node.attributes["window"].as_int() == (w if w < CONTEXT else NO_WINDOW)


@pytest.mark.parametrize("mask", MASKS)
def test_padding_on_the_left(mask: str) -> None:
    model = attention(mask, apply=ADDED)
    fuses(model, past=6, seq=4, padding=2)


@pytest.mark.parametrize(
    "change, scale",
    [
        ({"scale": "s = Div(s0, two)"}, 0.5),
        ({"scale": "s = Mul(half, s0)"}, 0.5),
        ({"scale": "s = Identity(s0)", "queries": "qq = Mul(q, half)"}, 0.5),
        ({"scale": "s = Identity(s0)", "queries": "qq = Div(q, two)"}, 0.5),
        ({"scale": "s = Identity(s0)", "queries": "qq = Mul(q, half)",
          "keys": "t = Transpose<perm = [0, 1, 3, 2]>(k)  kt = Mul(t, half)"}, 0.25),
        ({"scale": "s = Identity(s0)"}, 1.0),
        ({"apply": "bias = Where(seen, fzero, low)  m = Add(bias, s)"}, 0.5),
        ({"guard": "n = IsNaN(p)  g = Where(n, fzero, p)"}, 0.5),
    ],
)  # fmt: skip
def test_scaling_and_guards(change: dict[str, str], scale: float) -> None:
    node = fuses(attention(**change))
    assert node.attributes["scale"].as_float() == pytest.approx(scale)


@pytest.mark.parametrize("how", ("Expand", "Tile"))
def test_copies_of_kv_heads_are_taken_back(how: str) -> None:
    copy = {
        "Expand": "{0}u = Unsqueeze({0}, axis2)  {0}n = Shape<start = 2, end = 3>({0})"
        "  {0}z = Concat<axis = 0>(head, {0}n, tail)  {0}e = Expand({0}u, {0}z)"
        "  {0}c = Reshape({0}e, four)",
        "Tile": "{0}u = Unsqueeze({0}, axis2)  {0}e = Tile({0}u, five)  {0}c = Reshape({0}e, four)",
    }[how]
    model = attention(
        keys=copy.format("k") + "  kt = Transpose<perm = [0, 1, 3, 2]>(kc)",
        values=copy.format("v") + "  vv = Identity(vc)",
        groups="2",
    )
    node = fuses(model)
    assert [v.name for v in node.inputs[1:3] if v is not None] == ["k", "v"]


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"mask": "ok = GreaterOrEqual(cols, at)"}, "neither causal nor a window"),
        ({"mask": "c = LessOrEqual(cols, at)  first = Less(cols, w)  ok = Or(c, first)"},
         "neither causal nor a window"),
        ({"mask": "c = LessOrEqual(cols, at)  back = Sub(at, w)  near = Greater(cols, back)"
          "  sink = Less(cols, unit)  n = Or(near, sink)  ok = And(c, n)"},
         "neither causal nor a window"),
        ({"apply": "d = Sub(cols, at)  e = Cast<to = 1>(d)  b0 = Mul(e, half)"
          "  bias = Where(seen, b0, low)  m = Add(s, bias)"}, "a bias such as ALiBi"),
        ({"scale": "t = Tanh(s0)  s = Mul(t, two)"}, "neither operand of the sum"),
        ({"scale": "t = Tanh(s0)  s = Mul(t, two)", "apply": "m = Identity(s)"},
         "no product of queries and keys: it comes from Tanh"),
        ({"apply": "m = Identity(s)"}, "it has no mask"),
        ({"apply": "m = Where(seen, s, fzero)"}, "something else than a large negative number"),
        ({"keys": "kt = Reshape(k, turned)"}, "the keys are not transposed"),
        ({"mask": "z = ReduceMax<keepdims = 0>(q)  zi = Cast<to = 7>(z)  far = Sub(at, zi)"
          "  ok = LessOrEqual(cols, far)"}, "it depends on what is in q"),
    ],
)  # fmt: skip
def test_leaves_alone_and_says_why(change: dict[str, str], reason: str) -> None:
    model = attention(**change)
    count, reasons = missed(fuse_attention, model)
    assert count == 0
    assert any(reason in line for line in reasons), reasons


def test_a_mask_that_hides_everything_is_none_of_ours() -> None:
    count, reasons = missed(fuse_attention, attention(mask="ok = Less(cols, nil)"))
    assert count == 0 and "the mask hides every key" in reasons[0]


def test_a_mask_may_not_depend_on_tokens() -> None:
    model = attention(
        mask="other = Equal(mask, w)  oi = Not(other)  ok = Identity(oi)", padded=False
    )
    counted = next(n.outputs[0] for n in model.graph if n.op_type == "PaddingMask")
    ids = ir.val("ids", dtype=ir.DataType.INT64, shape=[1, "past + seq"])
    model.graph.inputs.append(ids)
    ir.convenience.replace_all_uses_with(counted, ids)
    count, reasons = missed(fuse_attention, model)
    assert count == 0 and "it depends on what is in ids" in reasons[0]


def op(call: str, opset: int = 23, groups: str = "2") -> ir.Model:
    body = f"{PLACES}  {MASKS['window']}  {PADDED}  bias = Where(seen, fzero, low)  y = {call}"
    source = (HEAD % {"w": "5", "body": body}).replace("G,", f"{groups},")
    return decoder(source.replace('"": 18', f'"": {opset}'), context=CONTEXT, S="seq")


SCALED = "scaled = Mul(q, half)  by_token = Transpose<perm = [0, 2, 1, 3]>(scaled)"
MOVED = f"{SCALED}  qq = Transpose<perm = [0, 2, 1, 3]>(by_token)"


@pytest.mark.parametrize("more, scale", [("", 0.25), ("  by_token2 = Neg(scaled)", 0.5)])
def test_queries_that_are_scaled_before_they_move(more: str, scale: float) -> None:
    """Not where something else reads what is scaled."""
    model = attention(queries=MOVED + more)
    with same_outputs(model, feeds(5, 3), seq=3, past=5):
        assert fuse_attention(model).rewrites == 1
    (node,) = [node for node in model.graph if node.op_type == "Attention"]
    assert node.attributes["scale"].as_float() == pytest.approx(scale)


@pytest.mark.parametrize("mask", ("seen", "bias"))
@pytest.mark.parametrize("attributes, scale", [("", 0.5), ("<scale = 0.125>", 0.125)])
@pytest.mark.parametrize("opset", (23, 24))
def test_the_attention_op(mask: str, attributes: str, scale: float, opset: int) -> None:
    node = fuses(op(f"Attention{attributes}(q, k, v, {mask})", opset))
    assert node.attributes["window"].as_int() == 5
    assert node.attributes["scale"].as_float() == pytest.approx(scale)


@pytest.mark.parametrize(
    "call, reason",
    [
        ("Attention(q, k, v)", "it has no mask"),
        ("Attention<is_causal = 1>(q, k, v)", "is_causal is set"),
        ("Attention<softcap = 20.0>(q, k, v, seen)", "attribute softcap"),
        ("Attention<left_window_size = 3>(q, k, v, seen)", "attribute left_window_size = 3"),
        ("Attention<right_window_size = 0>(q, k, v, seen)", "attribute right_window_size"),
        ("Attention<novelty = 1>(q, k, v, seen)", "attribute novelty"),
        ("Attention(q, k, v, seen, k, v)", "past inputs"),
    ],
)
def test_what_the_attention_op_may_not_do(call: str, reason: str) -> None:
    count, reasons = missed(fuse_attention, op(call))
    assert count == 0 and reason in reasons[0]


def test_heads_must_share_evenly() -> None:
    count, reasons = missed(fuse_attention, op("Attention(q, k, v, seen)", groups="4"))
    assert count == 0 and "6 query heads do not share 4 KV heads evenly" in reasons[0]


def test_a_softmax_over_other_axes_is_left_alone() -> None:
    model = attention()
    softmax = next(node for node in model.graph if node.op_type == "Softmax")
    softmax.attributes["axis"] = ir.AttrInt64("axis", 1)
    count, reasons = missed(fuse_attention, model)
    assert count == 0 and "not over the keys" in reasons[0]
