"""Dimensions, their inference, and the shape arithmetic that goes."""

import onnx_ir as ir
import pytest
import sympy
from pass_helpers import decoder, op_types, same_outputs, text

from onnx_passes.fold_constants import fold_constants
from onnx_passes.ir.dims import as_expr, parse, symbolic_value, unresolved_dims
from onnx_passes.ir.graph import GraphError
from onnx_passes.ir.infer import infer
from onnx_passes.resolve_shapes import resolve_shapes

SEQ, PAST = (sympy.Symbol(name, integer=True, nonnegative=True) for name in ("seq", "past"))


@pytest.mark.parametrize(
    "written, expected",
    [
        ("seq", SEQ),
        ("past + seq", PAST + SEQ),
        ("2*seq + 1", 2 * SEQ + 1),
        ("floor(seq/2)", sympy.floor(SEQ / 2)),
        ("seq//2", SEQ // 2),
        ("Mod(seq, 3)", sympy.Mod(SEQ, 3)),
        ("seq % 3", sympy.Mod(SEQ, 3)),
        ("Max(1, seq)", sympy.Max(1, SEQ)),
        ("-past + min(seq, 4)", sympy.Min(SEQ, 4) - PAST),
        ("seq**2", SEQ**2),
        ("N", sympy.Symbol("N", integer=True, nonnegative=True)),
    ],
)
def test_dimensions_are_expressions(written: str, expected: sympy.Expr) -> None:
    assert as_expr(ir.SymbolicDim(written)) == expected
    assert as_expr(7) == 7


@pytest.mark.parametrize("hostile", ("__import__('os')", "seq.real", "(lambda: 1)()", "a b", "'x'"))
def test_names_in_a_file_are_never_run(hostile: str) -> None:
    with pytest.raises(ValueError, match="no expression"):
        parse(hostile)


def test_an_unknown_dimension_has_no_expression() -> None:
    with pytest.raises(ValueError, match="unknown dimension"):
        as_expr(ir.SymbolicDim(None))


def test_declared_shapes_are_not_trusted() -> None:
    model = text("""<ir_version: 10, opset_import: ["": 18]>
    g (float[2, S] x) => (float[9, 9] y) <float[7, 7] t> { t = Neg(x)  y = Exp(t) }""")
    infer(model)
    assert all(node.outputs[0].shape == [2, "S"] for node in model.graph)


def test_shapes_that_do_not_fit_are_a_clear_error() -> None:
    model = text("""<ir_version: 10, opset_import: ["": 18]>
    g (float[2, 3] x, float[4, 5] z) => (float[2, 5] y) { y = MatMul(x, z) }""")
    with pytest.raises(GraphError, match="do not fit together"):
        infer(model)


HEAD = """<ir_version: 10, opset_import: ["": 18]>
before (float[1, S, 24] x, float[1, 3, total, 8] k) => (float[a, b, c, d] y)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3},
 int64[1] eight = {8}, int64[1] minus = {-1}, int64[1] large = {9223372036854775807},
 int64 i1 = {1}, int64[4] target = {1, -1, 3, 8}, int64[5] ones = {1, 1, 1, 1, 1}> { %s }"""


@pytest.mark.parametrize(
    "body, left",
    [
        ("s = Shape(x)  i = Gather(s, i1)  u = Unsqueeze(i, zero)"
         "  t = Concat<axis = 0>(one, u, three, eight)  y = Reshape(x, t)", ["Reshape"]),
        ("s = Shape<start = 0, end = 2>(x)  t = Concat<axis = 0>(s, three, minus)"
         "  y = Reshape(x, t)", ["Reshape"]),
        ("s = Shape(k)  e = Expand(k, s)  y = Neg(e)", ["Neg"]),
        ("u = Unsqueeze(k, two)  s = Shape<start = 2, end = 3>(k)"
         "  t = Concat<axis = 0>(one, three, two, s, eight)  e = Expand(u, t)"
         "  t4 = Concat<axis = 0>(one, minus, s, eight)  y = Reshape(e, t4)",
         ["Unsqueeze", "Expand", "Reshape"]),
        ("n = Shape(ones)  m = ConstantOfShape<value = int64[1] {-1}>(n)  w = Mul(m, m)"
         "  q = Equal(w, m)  s = Shape(k)  g = Concat<axis = 0>(one, s)  t = Where(q, w, g)"
         "  e = Expand(k, t)  z = Squeeze(e, zero)  y = Neg(z)", ["Expand", "Squeeze", "Neg"]),
        ("e = Slice(k, zero, large, two)  y = Neg(e)", ["Neg"]),
        ("e = Slice(k, zero, one, two)  y = Neg(e)", ["Slice", "Neg"]),
        ("s = Shape<start = 2, end = 3>(k)  e = Slice(k, zero, s, two)  y = Neg(e)", ["Neg"]),
        ("c = Concat<axis = 0>(k)  y = Neg(c)", ["Neg"]),
        ("s = Shape<start = 2, end = 3>(k)  f = Concat<axis = 0>(minus, s, eight)"
         "  r = Reshape(k, f)  t = Transpose<perm = [0, 2, 1]>(r)"
         "  g = Concat<axis = 0>(one, three, eight, s)  y = Reshape(t, g)", ["Transpose"]),
    ],
)  # fmt: skip
def test_shape_arithmetic_goes(body: str, left: list[str]) -> None:
    model = decoder(HEAD % body, S="seq")
    with same_outputs(model, seq=5, past=2):
        resolve_shapes(model)
    ops = op_types(model)
    assert ops == left or (left[0] == "Unsqueeze" and set(ops) <= {*left, "Expand"})
    assert unresolved_dims(model) == []


def test_a_slice_that_turns_the_order_stays() -> None:
    body = "e = Slice(k, minus, far, two, minus)  y = Neg(e)"
    source = (HEAD % body).replace("int64 i1 = {1}", "int64[1] far = {-9223372036854775807}")
    model = decoder(source, S="seq")
    with same_outputs(model, seq=5, past=2):
        resolve_shapes(model)
    assert op_types(model) == ["Slice", "Neg"]


def test_elements_of_shapes_are_followed() -> None:
    model = decoder(HEAD % "s = Shape(k)  t = Add(s, s)  y = Reshape(k, target)", S="seq")
    value = model.graph[0].outputs[0]
    assert symbolic_value(value) == [1, 3, PAST + SEQ, 8]
    assert symbolic_value(None) is None


@pytest.mark.parametrize(
    "body, left",
    [
        ("c = Constant<value_ints = [1, 3, -1, 8]>()  y = Reshape(k, c)", ["Reshape"]),
        ("c = Constant<value_float = 2.0>()  d = Mul(c, c)  y = Mul(k, d)", ["Mul"]),
        ("c = Cast<to = 1>(k)  y = Neg(c)", ["Neg"]),
        ("c = Cast<to = 10>(k)  d = Cast<to = 1>(c)  y = Neg(d)", ["Cast", "Cast", "Neg"]),
        ("i = Identity(k)  y = Neg(i)", ["Neg"]),
        ("a = Exp(k)  b = Exp(k)  y = Add(a, b)", ["Exp", "Add"]),
        ("dead = Exp(k)  more = Neg(dead)  y = Neg(k)", ["Neg"]),
        ("t = Transpose<perm = [1, 0]>(w)  u = Cast<to = 10>(t)  v = Cast<to = 1>(u)"
         "  y = MatMul(k, v)", ["MatMul"]),
        ("y = Identity(k)", ["Identity"]),
    ],
)  # fmt: skip
def test_constants_fold(body: str, left: list[str]) -> None:
    source = (HEAD % body).replace("int64 i1 = {1}", "int64 i1 = {1}, float[5, 8] w")
    model = decoder(source, S="seq")
    with same_outputs(model, seq=5, past=2, tolerance=1e-3):
        fold_constants(model)
    assert op_types(model) == left


def test_large_weights_are_folded_without_reading_them() -> None:
    source = (HEAD % "t = Transpose<perm = [1, 0]>(w)  y = MatMul(k, t)").replace(
        "int64 i1 = {1}", "int64 i1 = {1}, float[30000, 8] w"
    )
    model = decoder(source, S="seq")
    fold_constants(model)
    weight = model.graph[0].inputs[1]
    assert weight is not None and isinstance(weight.const_value, ir.LazyTensor)
    assert weight.shape == [8, 30000]


def test_sizes_beyond_any_memory_are_a_clear_error() -> None:
    model = text("""<ir_version: 10, opset_import: ["": 18]>
    g (float[2, 3] x) => (float[a, 3] y) <int64[2] far = {9223372036854775807, 3},
     float[1, 3] row> { y = Expand(row, far) }""")
    with pytest.raises(GraphError, match="do not fit together") as refused:
        infer(model)
    assert "9223372036854775807" in refused.value.because
