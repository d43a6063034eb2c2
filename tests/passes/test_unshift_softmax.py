"""Softmax less a number for each row."""

import pytest
from pass_helpers import missed, op_types, same_outputs, text

from onnx_passes.unshift_softmax import unshift_softmax

GRAPH = """<ir_version: 10, opset_import: ["": 20]> g (float[S, 3, 7] x, float[S, 3, 1] z) => (y)
<int64[1] axes = {%s}, float[7] wide, float one = {1}>
{ most = ReduceMax <keepdims = 1> (x, axes)  shifted = Sub (%s)
  y = Softmax <axis = %d> (shifted) }"""


@pytest.mark.parametrize(
    ("axes", "operands", "axis"),
    [("-1", "x, most", -1), ("1", "x, most", 1), ("2", "x, z", 2), ("0", "x, z", -1)],
)
def test_a_number_for_each_row(axes: str, operands: str, axis: int) -> None:
    model = text(GRAPH % (axes, operands, axis))
    with same_outputs(model, S=4):
        assert unshift_softmax(model).rewrites == 1
    assert "Sub" not in op_types(model)


@pytest.mark.parametrize(
    ("operands", "axis"), [("x, z", 1), ("x, wide", -1), ("z, x", -1), ("x, most", -1)]
)
def test_other_differences_stay(operands: str, axis: int) -> None:
    """Along another axis, from element to element, the other way round, of columns."""
    assert missed(unshift_softmax, text(GRAPH % ("1", operands, axis))) == (0, [])
