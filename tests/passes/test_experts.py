"""pocket.Experts: its shape, and where the spellings of exporters become it."""

import onnx_ir as ir
import pytest
from pass_helpers import text

from onnx_passes.ir.infer import infer

EXPERTS = """
<ir_version: 10, opset_import: ["": 20, "pocket": 1]>
g (float[B, S, {T}, 5] x, int64[B, S, 3] indices) => (y)
<float[5, 28] w> {{ y = pocket.Experts <experts = 4> (x, w, indices) }}
"""


@pytest.mark.parametrize("T", [1, 3])
def test_shape(T: int) -> None:
    model: ir.Model = text(EXPERTS.format(T=T))
    infer(model)
    shape = model.graph.outputs[0].shape
    assert shape is not None and [str(d) for d in shape] == ["B", "S", "3", "7"]
