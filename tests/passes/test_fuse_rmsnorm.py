"""RMSNorm in every spelling that exporters use."""

import numpy as np
import pytest
from pass_helpers import missed, op_types, same_outputs, text

from onnx_passes.fuse_rmsnorm import fuse_rmsnorm

HEAD = """<ir_version: 10, opset_import: ["": 18]>
before (float[B, S, 64] x) => (float[B, S, 64] y)
<float[64] g, float two = {%(power)s}, float eps = {0.00001}, int64[1] last = {%(axis)s},
 float one = {%(one)s}>"""
SQUARE = {"Pow": "q = Pow(x, two)", "Mul": "q = Mul(x, x)"}
UNIT = {
    "Reciprocal": "r = Reciprocal(s)  n = Mul(x, r)",
    "turned": "r = Reciprocal(s)  n = Mul(r, x)",
    "Div 1/": "r = Div(one, s)  n = Mul(x, r)",
    "Div": "n = Div(x, s)",
}
SCALE = {"n g": "y = Mul(n, g)", "g n": "y = Mul(g, n)"}
SUM = {"m eps": "e = Add(m, eps)", "eps m": "e = Add(eps, m)"}


def norm(square: str = "Pow", unit: str = "Reciprocal", scale: str = "n g", **change: str) -> str:
    """The text of one norm."""
    total = SUM[change.get("sum", "m eps")]
    body = f"{SQUARE[square]}  m = ReduceMean(q, last)  {total}  s = Sqrt(e)"
    return (HEAD + "{" + body + "  " + UNIT[unit] + "  " + SCALE[scale] + "}") % {
        "power": "2.0",
        "axis": "-1",
        "one": "1.0",
        **change,
    }


@pytest.mark.parametrize("square", SQUARE)
@pytest.mark.parametrize("unit", UNIT)
@pytest.mark.parametrize("scale", SCALE)
def test_fuses_and_keeps_the_values(square: str, unit: str, scale: str) -> None:
    model = text(norm(square, unit, scale))
    with same_outputs(model, B=2, S=3):
        assert fuse_rmsnorm(model).rewrites == 1
    assert op_types(model) == ["RmsNorm"]
    assert model.graph[0].attributes["eps"].as_float() == pytest.approx(1e-5)


def test_fuses_any_order_of_the_sum_and_a_positive_axis() -> None:
    model = text(norm(sum="eps m", axis="2"))
    with same_outputs(model, B=1, S=1):
        assert fuse_rmsnorm(model).rewrites == 1


def test_fuses_axes_as_an_attribute() -> None:
    source = norm().replace('"": 18', '"": 17')
    model = text(source.replace("ReduceMean(q, last)", "ReduceMean<axes = [-1]>(q)"))
    assert fuse_rmsnorm(model).rewrites == 1


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"power": "3.0"}, "the exponent is 3.0, not the constant 2"),
        ({"axis": "1"}, "the mean is over the axes [1], not over the last one"),
        ({"unit": "Div 1/", "one": "2.0"}, "the numerator over the root is not the constant 1"),
    ],
)
def test_leaves_alone_and_says_why(change: dict[str, str], reason: str) -> None:
    count, reasons = missed(fuse_rmsnorm, text(norm(**change)))
    assert count == 0
    assert any(reason in line for line in reasons)


@pytest.mark.parametrize(
    "old, new",
    [
        ("q = Pow(x, two)", "z = Neg(x)  q = Pow(z, two)"),
        ("q = Pow(x, two)", "z = Abs(x)  q = Mul(x, z)"),
        ("e = Add(m, eps)", "e = Sub(m, eps)"),
        ("e = Add(m, eps)", "e = Add(m, m)"),
        ("ReduceMean(q, last)", "ReduceMean<keepdims = 0>(q, last)"),
        ("ReduceMean(q, last)", "ReduceSum(q, last)"),
        ("Sqrt(e)", "Exp(e)"),
        ("float[64] g", "float[1] g"),
        ("float[64] g", "float[3, 64] g"),
    ],
)
def test_leaves_what_is_no_norm(old: str, new: str) -> None:
    assert old in norm()
    assert fuse_rmsnorm(text(norm().replace(old, new))).rewrites == 0


def test_takes_the_casts_of_half_precision_away() -> None:
    model = text("""<ir_version: 10, opset_import: ["": 18]>
    before (float16[B, S, 64] h) => (float16[B, S, 64] y)
    <float16[64] g, float two = {2.0}, float eps = {0.001}, int64[1] last = {-1}>
    { x = Cast<to = 1>(h)  p = Pow(x, two)  m = ReduceMean(p, last)  e = Add(m, eps)
      s = Sqrt(e)  r = Reciprocal(s)  n = Mul(x, r)  c = Cast<to = 10>(n)  y = Mul(g, c) }""")
    with same_outputs(model, B=1, S=3, tolerance=4e-3):
        assert fuse_rmsnorm(model).rewrites == 1
    assert op_types(model) == ["RmsNorm"]


OPS = {
    "RMSNormalization": '<ir_version: 11, opset_import: ["": 23]>',
    "SimplifiedLayerNormalization": '<ir_version: 10, opset_import: ["": 18]>',
}


@pytest.mark.parametrize("op", OPS)
def test_replaces_the_ops_of_exporters(op: str) -> None:
    model = text(f"""{OPS[op]} before (float[B, S, 64] x) => (float[B, S, 64] y) <float[64] g>
    {{ y = {op} <axis = -1, epsilon = 0.01> (x, g) }}""")
    with same_outputs(model, B=2, S=3):
        assert fuse_rmsnorm(model).rewrites == 1
    assert op_types(model) == ["RmsNorm"]
    assert model.graph[0].attributes["eps"].as_float() == pytest.approx(0.01)


def test_another_axis_is_not_replaced() -> None:
    model = text(f"""{OPS["RMSNormalization"]} before (float[B, 64, 64] x) => (float[B, 64, 64] y)
    <float[64] g> {{ y = RMSNormalization <axis = 1> (x, g) }}""")
    count, reasons = missed(fuse_rmsnorm, model)
    assert count == 0 and "not over the last axis" in reasons[0]


SKIP = """<ir_version: 10, opset_import: ["": 18, "com.microsoft": 1]>
before (float[B, S, 64] x, float[B, S, 64] r) => (float[B, S, 64] y %s) <float[64] g, float[64] b>
{ %s }"""
CALL = "= com.microsoft.SkipSimplifiedLayerNormalization <epsilon = 0.01>"


def test_skip_norm_has_an_epsilon_of_its_own() -> None:
    model = text(SKIP % ("", "y = com.microsoft.SkipSimplifiedLayerNormalization (x, r, g)"))
    small = {name: np.full((1, 3, 64), 1e-5, np.float32) for name in "xr"}
    with same_outputs(model, small, B=1, S=3):
        assert fuse_rmsnorm(model).rewrites == 1


@pytest.mark.parametrize(
    "outputs, call",
    [
        ("", f"y {CALL} (x, r, g)"),
        (", float[B, S, 64] t", f"y, m, d, t {CALL} (x, r, g)"),
        (", float[B, S, 64] t", f"y, m, d, t {CALL} (x, r, g, b)"),
    ],
)
def test_skip_norm_gives_the_sum_as_well(outputs: str, call: str) -> None:
    model = text(SKIP % (outputs, call))
    for output in model.graph[0].outputs[1:3]:
        output.name = ""  # left out
    with same_outputs(model, B=2, S=3):
        assert fuse_rmsnorm(model).rewrites == 1
    assert op_types(model)[-1] == "AddRmsNorm"


def test_a_scale_that_is_no_constant_stays() -> None:
    model = text(
        norm().replace("before (float[B, S, 64] x)", "before (float[B, S, 64] x, float[64] g)")
    )
    model.graph.initializers.pop("g", None)
    assert fuse_rmsnorm(model).rewrites == 0
