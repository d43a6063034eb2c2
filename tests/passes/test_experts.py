"""pocket.Experts as its body defines it, against numpy."""

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import run, text

from onnx_passes.ir.infer import infer

EXPERTS = """
<ir_version: 10, opset_import: ["": 20, "pocket": 1]>
g (float[B, S, {T}, 5] x, int64[B, S, 3] indices) => (y)
<float[5, 28] w, float[4, 7] bias>
{{ y = pocket.Experts{overload} <experts = 4> (x, w, indices{bias}) }}
"""


def experts(T: int, biased: bool) -> ir.Model:
    model = text(EXPERTS.format(T=T, overload="", bias=", bias" if biased else ""))
    if biased:
        model.graph[0].overload = "bias"
    return model


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("T", [1, 3])
def test_each_row_has_the_matrix_of_its_expert(T: int, biased: bool) -> None:
    model, dice = experts(T, biased), np.random.default_rng(T)
    x = dice.standard_normal((2, 6, T, 5)).astype(np.float32)
    indices = dice.integers(-1, 5, (2, 6, 3))  # -1 and 4 are no experts
    weights = {name: v.const_value.numpy() for name, v in model.graph.initializers.items()}
    matrices = np.moveaxis(weights["w"].reshape(5, 4, 7), 1, 0)
    known = (indices >= 0) & (indices < 4)
    chosen = matrices[np.where(known, indices, 0)]
    expected = np.einsum("bstk,bstkn->bstn", np.broadcast_to(x, (2, 6, 3, 5)), chosen)
    if biased:
        expected += weights["bias"][np.where(known, indices, 0)]
    (y,) = run(model, {"x": x, "indices": indices})
    np.testing.assert_allclose(y, expected * known[..., None], rtol=1e-5, atol=1e-5)
    infer(model)
    shape = model.graph.outputs[0].shape
    assert shape is not None and [str(d) for d in shape] == ["B", "S", "3", "7"]
