"""What a file has evaluated at compile time is little, and shapes are compared with what comes."""

import onnx_ir as ir
import pytest
from pass_helpers import decoder

from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.ir.graph import GraphError
from onnx_passes.ir.rules import Miss

HEAD = """<ir_version: 10, opset_import: ["": 18]>
before (int64[1, total] mask, float[1, S, 4] x) => (float[1, S, 4] y)
<float one = {1.0}, int64[2] huge = {100000, 100000}, int64[2] large = {4000, 4000},
 int64[2] long = {1, 100000}, int64 many = {1000000000}, bool yes = {1},
 int64 unit = {1}, int64 nil = {0}>
{ f = Cast<to = 1>(mask)  %s  y = Add(x, m) }"""


def evaluate(body: str) -> Subgraph:
    model = decoder(HEAD % body, S="seq")
    value = next(v for node in model.graph for v in node.outputs if v.name == "m")
    return Subgraph(model, [value])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Expand(one, huge)  m = ReduceMax(a)", "10,000,000,000 elements: it is no mask"),
        ("a = Tile(f, huge)  m = ReduceMax(a)", "it is no mask"),
        ("a = ConstantOfShape(huge)  m = ReduceMax(a)", "it is no mask"),
        ("a = NonZero(f)  b = Cast<to = 1>(a)  m = ReduceMax(b)", "depends on the data"),
        ("r = Range(nil, many, unit)  b = Cast<to = 1>(r)  m = ReduceMax(b)", "it is no mask"),
        (
            'a = Expand(one, long)  m = Einsum<equation = "ab,cd->">(a, a)',
            "more work than masks",
        ),
        (
            "  ".join(
                [
                    "a0 = Expand(one, large)",
                    *(f"a{i + 1} = Neg(a{i})" for i in range(9)),
                    "m = ReduceMax(a9)",
                ]
            ),
            "which is more than masks and tables have",
        ),
        (
            """m = Loop(many, yes, one) <body = step (int64 i, bool go, float v)
            => (bool on, float w) { on = Identity(go)  w = Neg(v) }>""",
            "computed by a Loop",
        ),
    ],
)
def test_what_would_take_long_is_left_alone(body: str, reason: str) -> None:
    with pytest.raises(Miss, match=reason):
        evaluate(body).run(3, 4)


def test_a_shape_that_was_inferred_wrongly_is_found_out() -> None:
    piece = evaluate("a = Neg(f)  m = ReduceMax(a)")
    assert piece.run(3, 4)[0].shape == (1, 1)
    wrong = next(value for value in piece.reached if value.name == "a")
    wrong.shape = ir.Shape([1, "seq"])
    with pytest.raises(GraphError, match="inferred wrongly") as found:
        piece.run(3, 4)
    assert "[1, 7]" in found.value.because and "report" in found.value.hint
