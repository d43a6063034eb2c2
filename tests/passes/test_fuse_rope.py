"""Rotary embeddings: half-split spelled out, and the RotaryEmbedding ops."""

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import decoder, missed, op_types, same_outputs

from onnx_passes.fold_constants import fold_constants
from onnx_passes.fuse_rope import fuse_rope

CONTEXT, WIDTH = 16, 8
ANGLES = """f = Cast<to = 1>(positions)  p3 = Unsqueeze(f, two)  a = Mul(p3, frequencies)
  aa = Concat<axis = 2>(a, a)  c0 = Cos(aa)  s0 = Sin(aa)"""
TURN = """c = Unsqueeze(c0, one)  s = Unsqueeze(s0, one)
  x1 = Slice(x, zero, half, three)  x2 = Slice(x, half, end, three)
  n = Neg(x2)  h = Concat<axis = -1>(n, x1)  l = Mul(x, c)  r = Mul(h, s)  y = Add(l, r)"""
HEAD = """<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>
before (float[1, 3, S, 8] x, int64[1, S] positions) => (float[1, 3, S, 8] y)
<float[4] frequencies, int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2},
 int64[1] three = {3}, int64[1] half = {4}, int64[1] end = {9223372036854775807}>
{ %s }"""
SPELLED = HEAD % f"{ANGLES}  {TURN}"


def rotary(source: str) -> ir.Model:
    return decoder(source, context=CONTEXT, S="seq")


def feeds(past: int, seq: int) -> dict[str, np.ndarray]:
    at = np.arange(past, past + seq)[None]
    return {"positions": at, "past": np.array([past]), "start": np.array([0])}


@pytest.mark.parametrize("past, seq", [(0, 1), (0, 16), (9, 7), (15, 1)])
@pytest.mark.parametrize(
    "old, new",
    [
        ("", ""),
        ("y = Add(l, r)", "y = Add(r, l)"),
        ("l = Mul(x, c)  r = Mul(h, s)", "l = Mul(c, x)  r = Mul(s, h)"),
        ("x1 = Slice(x, zero, half, three)  x2 = Slice(x, half, end, three)",
         "x1, x2 = Split<axis = 3, num_outputs = 2>(x)"),
        ("aa = Concat<axis = 2>(a, a)  c0 = Cos(aa)  s0 = Sin(aa)",
         "c1 = Cos(a)  s1 = Sin(a)  c0 = Concat<axis = 2>(c1, c1)  s0 = Concat<axis = 2>(s1, s1)"),
    ],
)  # fmt: skip
def test_half_split_fuses_and_keeps_the_values(old: str, new: str, past: int, seq: int) -> None:
    assert old in SPELLED
    model = rotary(SPELLED.replace(old, new))
    with same_outputs(model, feeds(past, seq), seq=seq, past=past):
        assert fuse_rope(model).rewrites == 1
    assert op_types(model) == ["Transpose", "Rope", "Transpose"]


PAIRS = """aa0 = Unsqueeze(a, three)  aa1 = Concat<axis = 3>(aa0, aa0)  aa = Reshape(aa1, width)
  c0 = Cos(aa)  s0 = Sin(aa)"""
BY_PAIRS = """c = Unsqueeze(c0, one)  s = Unsqueeze(s0, one)
  even = Slice(x, zero, end, three, two)  odd = Slice(x, one, end, three, two)  n = Neg(odd)
  n1 = Unsqueeze(n, last)  e1 = Unsqueeze(even, last)  h0 = Concat<axis = -1>(n1, e1)
  h = Reshape(h0, shape)  l = Mul(x, c)  r = Mul(h, s)  y = Add(l, r)"""
BY_HALVES = """c = Cos(a1)  s = Sin(a1)
  x1 = Slice(x, zero, half, three)  x2 = Slice(x, half, end, three)  x1c = Mul(x1, c)
  x2s = Mul(s, x2)  x2c = Mul(x2, c)  x1s = Mul(x1, s)  first = Sub(x1c, x2s)
  second = Add(x1s, x2c)  y = Concat<axis = -1>(first, second)"""
IN_PART = f"""w0 = Slice(x, zero, half, three)  w1 = Slice(x, half, end, three)
  {TURN.replace("(x, ", "(w0, ").replace("half", "two").replace("y = ", "y0 = ")}
  y = Concat<axis = -1>(y0, w1)"""
FEW = ANGLES.replace("Mul(p3, frequencies)", "Mul(p3, few)")
MORE = """, float[2] few, int64[1] last = {-1}, int64[3] width = {1, -1, 8},
 int64[4] shape = {0, 0, 0, 8}>"""


@pytest.mark.parametrize("past, seq", [(0, 5), (9, 1)])
@pytest.mark.parametrize(
    "body, overload, pairs",
    [
        (f"{ANGLES.split('aa =')[0]}  {PAIRS}  {BY_PAIRS}", "interleaved", 4),
        (f"{ANGLES.split('aa =')[0]}  a1 = Unsqueeze(a, one)  {BY_HALVES}", "", 4),
        (f"{FEW}  {IN_PART}", "", 2),
    ],
)
def test_other_spellings(body: str, overload: str, pairs: int, past: int, seq: int) -> None:
    model = rotary((HEAD % body).replace(">\n{", f"{MORE}\n{{"))
    with same_outputs(model, feeds(past, seq), seq=seq, past=past):
        assert fuse_rope(model).rewrites == 1
    assert op_types(model) == ["Transpose", "Rope", "Transpose"]
    node = model.graph[1]
    assert node.overload == overload and node.inputs[1].shape == [CONTEXT, pairs]


@pytest.mark.parametrize("odd", ["Slice(x, zero, end, three, two)", "Slice(x, half, end, three)"])
def test_other_pairs_are_no_rotation(odd: str) -> None:
    body = BY_PAIRS.replace("Slice(x, one, end, three, two)", odd)
    model = rotary(
        (HEAD % f"{ANGLES.split('aa =')[0]}  {PAIRS}  {body}").replace(">\n{", f"{MORE}\n{{")
    )
    assert missed(fuse_rope, model)[0] == 0


def test_token_major_needs_no_transposes() -> None:
    source = SPELLED.replace("[1, 3, S, 8]", "[1, S, 3, 8]").replace("(c0, one)", "(c0, two)")
    model = rotary(source.replace("(s0, one)", "(s0, two)"))
    with same_outputs(model, feeds(4, 5), seq=5, past=4):
        assert fuse_rope(model).rewrites == 1
    assert op_types(model) == ["Rope"]


def test_all_rotations_share_one_table() -> None:
    again = "l2 = Mul(y, c)  n2 = Neg(y2)  h2 = Concat<axis = -1>(n2, y1)  r2 = Mul(h2, s)"
    halves = "y1 = Slice(y, zero, half, three)  y2 = Slice(y, half, end, three)"
    body = f"{ANGLES}  {TURN}  {halves}  {again}  z = Add(l2, r2)"
    model = rotary((HEAD % body).replace("=> (float[1, 3, S, 8] y)", "=> (float[1, 3, S, 8] z)"))
    with same_outputs(model, feeds(2, 5), seq=5, past=2):
        assert fuse_rope(model).rewrites == 2
    assert [n for n in model.graph.initializers if n.startswith("rotary")] == [
        "rotary.cos",
        "rotary.sin",
    ]


def test_tables_are_computed_in_double() -> None:
    model = rotary(SPELLED)
    frequencies = np.float32(model.graph.initializers["frequencies"].const_value.numpy())
    assert fuse_rope(model).rewrites == 1
    cos = model.graph.initializers["rotary.cos"].const_value.numpy()
    exact = np.cos(np.arange(CONTEXT)[:, None] * frequencies.astype(np.float64)[None])
    assert cos.shape == (CONTEXT, WIDTH // 2)
    assert np.array_equal(cos, exact.astype(np.float32))


LAST = "g = ReduceMax<keepdims = 1>(f)  f2 = Add(f, g)  p3 = Unsqueeze(f2, two)"


@pytest.mark.parametrize(
    "old, new, reason",
    [
        ("p3 = Unsqueeze(f, two)", LAST, "depend on the length of the sequence"),
        ("aa = Concat<axis = 2>(a, a)", "b = Add(a, a)  aa = Concat<axis = 2>(a, b)",
         "do not repeat the same angles"),
        ("half, three)  x2 = Slice(x, half", "one, three)  x2 = Slice(x, one",
         "a head is not rotated by halves"),
        ("l = Mul(x, c)", "xx = Neg(x)  l = Mul(xx, c)", "not of the value that cos multiplies"),
    ],
)  # fmt: skip
def test_leaves_alone_and_says_why(old: str, new: str, reason: str) -> None:
    assert old in SPELLED
    model = rotary(SPELLED.replace(old, new))
    count, reasons = missed(fuse_rope, model)
    assert count == 0
    assert any(reason in line for line in reasons), reasons


@pytest.mark.parametrize("old, new", [("n = Neg(x2)", "n = Abs(x2)"), ("(n, x1)", "(x1, n)")])
def test_other_arithmetic_is_no_rotation(old: str, new: str) -> None:
    assert missed(fuse_rope, rotary(SPELLED.replace(old, new)))[0] == 0


def op23(call: str, shape: str = "[1, 3, S, 8]") -> ir.Model:
    tables = "f = Cast<to = 1>(positions)  p3 = Unsqueeze(f, two)  a = Mul(p3, frequencies)"
    source = HEAD % f"{tables}  c = Cos(a)  s = Sin(a)  y = {call}"
    return rotary(source.replace('"": 18', '"": 23').replace("[1, 3, S, 8]", shape))


@pytest.mark.parametrize("interleaved", (0, 1))
@pytest.mark.parametrize(
    "shape, attribute", [("[1, 3, S, 8]", ""), ("[1, S, 24]", ", num_heads = 3")]
)
def test_onnx_rotary_embedding(shape: str, attribute: str, interleaved: int) -> None:
    model = op23(f"RotaryEmbedding<interleaved = {interleaved}{attribute}>(x, c, s)", shape)
    with same_outputs(model, feeds(3, 5), seq=5, past=3):
        assert fuse_rope(model).rewrites == 1
    (node,) = [n for n in model.graph if n.op_type == "Rope"]
    assert node.overload == ("interleaved" if interleaved else "")


def stored(call: str, domain: str, rows: int = 20) -> ir.Model:
    source = HEAD % f"y = {domain}{call}"
    source = source.replace("float[4] frequencies", f"float[{rows}, 4] c, float[{rows}, 4] s")
    return rotary(source.replace('"": 18', '"": 23'))


CALLS = {"": "(x, c, s, positions)", "com.microsoft.": "(x, positions, c, s)"}


@pytest.mark.parametrize("domain", CALLS)
def test_stored_tables_are_cut_to_the_context(domain: str) -> None:
    model = stored(f"RotaryEmbedding{CALLS[domain]}", domain)
    with same_outputs(model, feeds(9, 7), seq=7, past=9):
        assert fuse_rope(model).rewrites == 1
    assert model.graph.initializers["rotary.cos"].shape == [CONTEXT, 4]


CHOSEN = """last = ReduceMax<keepdims = 0>(positions)
  edge = Constant<value_int = 7>()  beyond = Greater(last, edge)
  c, s = If(beyond) <then_branch = far () => (float[20, 4] fc, float[20, 4] fs)
    {{ fc = Identity(long_c)  fs = Identity(long_s) }},
  else_branch = near () => (float[20, 4] nc, float[20, 4] ns)
    {{ nc = Identity(short_c)  ns = Identity(short_s) }}>  y = {}"""


@pytest.mark.parametrize("domain", CALLS)
@pytest.mark.parametrize("seq, past", [(8, 0), (9, 0), (1, 7), (1, 8), (3, 6)])
def test_stored_tables_that_the_length_chooses(domain: str, seq: int, past: int) -> None:
    """Texts of more than 8 tokens turn by others; branches hold constants after folding."""
    source = HEAD % CHOSEN.format(f"{domain}RotaryEmbedding{CALLS[domain]}")
    names = ("long_c", "long_s", "short_c", "short_s")
    tables = ", ".join(f"float[20, 4] {name}" for name in names)
    source = source.replace("float[4] frequencies", tables).replace('"": 18', '"": 23')
    model = rotary(source)
    with same_outputs(model, feeds(past, seq), seq=seq, past=past):
        fold_constants(model)
        assert fuse_rope(model).rewrites == 1
    assert "If" not in op_types(model) and "Where" in op_types(model)


@pytest.mark.parametrize("domain", CALLS)
@pytest.mark.parametrize(
    "rows, body, reason",
    [
        (15, "RotaryEmbedding{}", "end at 15 positions, before the context of 16"),
        (20, "RotaryEmbedding<num_heads = 0>{}", "its positions do not count the tokens"),
    ],
)
def test_stored_tables_that_do_not_fit(domain: str, rows: int, body: str, reason: str) -> None:
    arguments = CALLS[domain]
    shifted = "count" in reason
    model = stored(body.format(arguments), domain, rows)
    if shifted:
        node = model.graph[-1]
        positions = next(v for v in node.inputs if v is not None and v.dtype == ir.DataType.INT64)
        double = ir.node("Add", [positions] * 2)
        double.outputs[0].name = "twice"
        model.graph.insert_before(node, double)
        node.replace_input_with(list(node.inputs).index(positions), double.outputs[0])
    count, reasons = missed(fuse_rope, model)
    assert count == 0 and reason in reasons[0]


def test_rank_three_has_as_many_heads_as_tables_fit_in() -> None:
    source = HEAD % "y = com.microsoft.RotaryEmbedding(x, positions, c, s)"
    source = source.replace("float[4] frequencies", "float[20, 4] c, float[20, 4] s")
    model = rotary(source.replace("[1, 3, S, 8]", "[1, S, 24]"))
    with same_outputs(model, feeds(9, 7), seq=7, past=9):
        assert fuse_rope(model).rewrites == 1


def test_rank_three_without_heads_says_so() -> None:
    count, reasons = missed(fuse_rope, op23("RotaryEmbedding(x, c, s)", "[1, S, 24]"))
    assert count == 0 and "num_heads is not given" in reasons[0]
