"""MatMulBnb4: codes of FP4 and NF4 become floats; ONNX Runtime is the judge."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper
from quantized_models import F16, F32, NP, model, reads

from onnx_passes.ir.graph import GraphError
from onnx_passes.read_quantized_weights import read_quantized_weights
from onnx_passes.weights import lazy


def table_matmul(
    N: int, K: int, block: int, kind: int, dtype: int = F32, **changes: Any
) -> onnx.ModelProto:
    dice = np.random.default_rng(N)
    constants = {
        "B": dice.integers(0, 256, -(-N * K // 2)).astype(np.uint8),
        "absmax": (dice.random(-(-N * K // block)) + 0.1).astype(NP[dtype]),
    }
    attributes = {"N": N, "K": K, "block_size": block, "quant_type": kind}
    node = helper.make_node(
        "MatMulBnb4",
        ["x", "B", "absmax"],
        ["y"],
        "node",
        domain="com.microsoft",
        **(attributes | changes),
    )
    return model([node], constants, dtype, dtype)


@pytest.mark.parametrize("dtype", [F32, F16], ids=["f32", "f16"])
@pytest.mark.parametrize("kind", [0, 1], ids=["fp4", "nf4"])
@pytest.mark.parametrize(("N", "K", "block"), [(16, 64, 64), (24, 48, 32), (7, 20, 16)])
def test_matmul_bnb4(N: int, K: int, block: int, kind: int, dtype: int) -> None:
    proto = table_matmul(N, K, block, kind, dtype)
    x = np.random.default_rng(1).standard_normal((3, K)).astype(NP[dtype])
    after = reads(read_quantized_weights, proto, x, 2e-6 if dtype == F32 else 3e-3)
    assert [node.op_type for node in after.graph] == ["MatMul"]
    (weight,) = [v.const_value for v in after.graph.initializers.values()]
    assert weight is not None
    rows, columns = lazy.part(weight, 1, 2, 5), lazy.part(weight, 0, 3, 8)
    np.testing.assert_array_equal(rows, weight.numpy()[:, 2:5])
    np.testing.assert_array_equal(columns, weight.numpy()[3:8])
    (miss,) = read_quantized_weights(ir.from_proto(proto)).misses
    assert "codes are not kept" in miss.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quant_type": 2}, "quant_type 2"),
        ({"transB": 0}, "weight is turned"),
        ({"block_size": 0}, "blocks of 0"),
        ({"block_size": 32}, "(512, 32) of them are right"),
    ],
)
def test_damaged_nodes_are_named(changes: dict[str, int], words: str) -> None:
    with pytest.raises(GraphError) as error:
        read_quantized_weights(ir.from_proto(table_matmul(16, 64, 64, 1, **changes)))
    assert words in error.value.because
