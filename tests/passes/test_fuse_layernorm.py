"""LayerNorm as exporters spell it out."""

import onnx_ir as ir
import pytest
from pass_helpers import missed, op_types, same_outputs, text

from onnx_passes.fuse_layernorm import fuse_layernorm
from onnx_passes.fuse_rmsnorm import fuse_rmsnorm
from onnx_passes.ir.infer import infer

HEAD = """<ir_version: 10, opset_import: ["": 18]>
before (float[B, S, 33] x, float[B, S, 33] z) => (float[B, S, 33] y)
<float[33] g, float[33] b, float[1] lone, float two = {2.0}, float eps = {0.00001},
 int64[1] last = {-1}, int64[1] tokens = {1}>"""
BODY = """a = ReduceMean(x, last)  d = Sub(x, a)  q = Pow(d, two)  m = ReduceMean(q, last)
e = Add(m, eps)  s = Sqrt(e)  n = Div(d, s)  t = Mul(n, g)  """


def norm(end: str, *changes: tuple[str, str]) -> ir.Model:
    """A LayerNorm whose second half is an RMSNorm already."""
    body = BODY
    for old, new in changes:
        assert old in body
        body = body.replace(old, new)
    model = text(HEAD + "{" + body + end + "}")
    infer(model)
    assert fuse_rmsnorm(model).rewrites == 1
    return model


@pytest.mark.parametrize(
    ("end", "left"),
    [
        ("y = Add(t, b)", []),
        ("y = Add(b, t)", []),
        ("y = Neg(t)", ["Neg"]),
        ("y = Add(t, lone)", ["Add"]),
        ("y = Add(t, z)", ["Add"]),
        ("u = Neg(t) v = Add(t, b) y = Mul(u, v)", ["Neg", "Add", "Mul"]),
    ],
)
def test_fuses_and_keeps_the_values(end: str, left: list[str]) -> None:
    model = norm(end)
    with same_outputs(model, B=2, S=3):
        assert fuse_layernorm(model).rewrites == 1
    assert op_types(model) == ["LayerNormalization", *left]


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        (("ReduceMean(x, last)", "ReduceMean(x, tokens)"), 1),
        (("Sub(x, a)", "Sub(z, a)"), 0),
        (("Sub(x, a)", "Sub(a, x)"), 0),
    ],
)
def test_leaves_alone(change: tuple[str, str], reasons: int) -> None:
    model = norm("y = Add(t, b)", change)
    count, told = missed(fuse_layernorm, model)
    assert count == 0 and len(told) == reasons
