"""Chains of elementwise arithmetic become functions of the model."""

import pytest
from pass_helpers import missed, op_types, same_outputs, text

from onnx_passes.fuse_elementwise import MAX_INPUTS, fuse_elementwise

HEAD = """<ir_version: 10, opset_import: ["": 20]>
before (float[B, S, 6] x, float[B, S, 6] z, float[B, 1, 6] r) => (float[B, S, 6] y)
<float two = {2.0}, float[1] half = {0.5}, float[6] v, float[1] one> { %s }"""


@pytest.mark.parametrize(
    "body, count, inputs",
    [
        ("y = Add(x, z)", 1, 2),
        ("a = Mul(x, two)  b = Tanh(a)  y = Mul(b, half)", 1, 1),
        ("a = Add(x, z)  b = Exp(a)  c = Sub(b, v)  y = Div(c, r)", 1, 4),
        ("a = Sigmoid(x)  y = Mul(a, a)", 1, 1),
        ("a = Neg(r)  y = Add(a, x)", 2, 2),
        ("a = Abs(x)  b = Sqrt(a)  c = Log(b)  d = Relu(c)  y = Max(d, z, v)", 1, 3),
        ("a = Exp(x)  b = ReduceSum(a)  y = Add(a, b)", 2, 2),
        ("a = Pow(x, two)  b = Min(a, x)  c = Erf(b)  d = Reciprocal(c)  y = Identity(d)", 1, 1),
    ],
)
def test_fuses_and_keeps_the_values(body: str, count: int, inputs: int) -> None:
    model = text(HEAD % body)
    with same_outputs(model, B=2, S=3):
        assert fuse_elementwise(model).rewrites == count
    last = model.graph[-1]
    assert last.op_type == "Elementwise" and len(last.inputs) == inputs
    assert op_types(model).count("Elementwise") == count


def test_equal_chains_share_a_function() -> None:
    twice = text(HEAD % "a = Mul(x, two)  b = Softmax(a)  y = Mul(b, two)")
    with same_outputs(twice, B=1, S=3):
        assert fuse_elementwise(twice).rewrites == 2
    assert len(twice.functions) == 1


def test_a_chain_reads_no_more_buffers_than_a_kernel_takes() -> None:
    names = [f"x{i}" for i in range(12)]
    inputs = ", ".join(f"float[B, 4] {name}" for name in names)
    steps = "  ".join(f"s{i} = Add(s{i - 1}, {name})" for i, name in enumerate(names) if i)
    model = text(f"""<ir_version: 10, opset_import: ["": 20]>
    before ({inputs}) => (float[B, 4] s11) {{ s0 = Neg(x0)  {steps} }}""")
    with same_outputs(model, B=3):
        assert fuse_elementwise(model).rewrites == 2
    assert all(len(node.inputs) <= MAX_INPUTS for node in model.graph)


@pytest.mark.parametrize(
    "body", ("y = Softmax(x)", "i = Cast<to = 7>(x)  j = Add(i, i)  y = Cast<to = 1>(j)")
)
def test_leaves_the_rest_alone(body: str) -> None:
    assert missed(fuse_elementwise, text(HEAD % body))[0] == 0
