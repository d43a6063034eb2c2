"""Products of dynamic quantisation keep the weight's codes, and lose only the rounding."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from quantized_models import F32, INTS, answer, model, weight_of

from onnx_passes.ir.edit import drop_unused
from onnx_passes.ir.graph import GraphError
from onnx_passes.read_integer_products import ROUNDED, read_integer_products
from onnx_passes.read_quantized_weights import read_quantized_weights

ROUNDING = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], "rounding")
SPELLED = [
    ROUNDING,
    helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["i"], "product"),
    helper.make_node("Cast", ["i"], ["f"], to=F32),
    helper.make_node("Mul", ["s", "ws"], ["scales"]),
    helper.make_node("Mul", ["f", "scales"], ["y"]),
]
FUSED = [
    ROUNDING,
    helper.make_node(
        "MatMulIntegerToFloat",
        ["q", "w", "s", "ws", "z", "wz", "bias"],
        ["y"],
        "product",
        domain="com.microsoft",
    ),
]
ALONE = [
    helper.make_node(
        "DynamicQuantizeMatMul",
        ["x", "w", "ws", "wz", "bias"],
        ["y"],
        "product",
        domain="com.microsoft",
    )
]
SPELLINGS = {"spelled": SPELLED, "fused": FUSED, "alone": ALONE}


def dynamic(
    spelling: str, kind: int, K: int = 40, N: int = 24, by_column: bool = False, zero: bool = True
) -> tuple[onnx.ModelProto, np.ndarray]:
    """A product of x [.., K] with codes [K, N], and the weight that these are."""
    dice, info = np.random.default_rng(K + N), np.iinfo(INTS[kind])
    shape = (N,) if by_column else ()
    codes = dice.integers(info.min, info.max + 1, (K, N)).astype(INTS[kind])
    scale = np.asarray(dice.random(shape) / 50 + 0.01, np.float32)
    zeros = np.asarray(dice.integers(-3, 4, shape) + (info.max + info.min) // 2).astype(INTS[kind])
    bias = dice.standard_normal(N).astype(np.float32)
    constants: dict[str, Any] = {"w": codes, "ws": scale, "wz": zeros if zero else None}
    constants["bias"] = None if spelling == "spelled" else bias
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in SPELLINGS[spelling]]
    weight = (codes.astype(np.float32) - (zeros.astype(np.float32) if zero else 0)) * scale
    return model(nodes, constants, F32), weight


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT8], ids=["int8", "uint8"])
@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_codes_are_kept_and_only_the_rounding_goes(
    spelling: str, by_column: bool, kind: int
) -> None:
    proto, weight_KN = dynamic(spelling, kind, by_column=by_column)
    x = np.random.default_rng(1).uniform(-1, 1, (2, 3, 40)).astype(np.float32)
    after = ir.from_proto(proto)
    outcome = read_integer_products(after)
    assert outcome.rewrites == 1
    assert [(m.node, m.reason) for m in outcome.misses] == [("product", str(ROUNDED))]
    drop_unused(after)
    read_quantized_weights(after)  # finds nothing to refuse
    assert [n.op_type for n in after.graph] == ["MatMul", "Add"][: 2 - (spelling == "spelled")]
    ours, theirs = answer(ir.to_proto(after), x), answer(proto, x)
    bias = next((i for i in proto.graph.initializer if i.name == "bias"), None)
    exact = x @ weight_KN + (0 if bias is None else onnx.numpy_helper.to_array(bias))
    np.testing.assert_allclose(ours, exact, rtol=0, atol=2e-5 * np.abs(exact).max())
    np.testing.assert_allclose(theirs, exact, rtol=0, atol=0.05 * np.abs(exact).max())
    stored = weight_of(after).weight
    assert (stored.N, stored.K, stored.bits) == (24, 40, 8)


def test_without_zero_points_codes_count_from_zero() -> None:
    proto, weight_KN = dynamic("spelled", TensorProto.UINT8, zero=False)
    after = ir.from_proto(proto)
    assert read_integer_products(after).rewrites == 1
    x = np.eye(40, dtype=np.float32)
    np.testing.assert_allclose(answer(ir.to_proto(after), x), weight_KN, rtol=1e-6)


def test_a_weight_of_more_dimensions_becomes_floats() -> None:
    proto, _ = dynamic("spelled", TensorProto.INT8, N=4)
    weight = next(i for i in proto.graph.initializer if i.name == "w")
    del weight.dims[:]
    weight.dims.extend((2, 20, 4))
    x = np.random.default_rng(2).uniform(-1, 1, (2, 3, 20)).astype(np.float32)
    after = ir.from_proto(proto)
    assert read_integer_products(after).rewrites == 1
    ours, theirs = answer(ir.to_proto(after), x), answer(proto, x)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=0.03 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("node", "index", "name", "reason"),
    [
        (1, 0, "other", "not rounded right before it"),
        (1, 2, "wz", "not rounded right before it"),
        (1, 1, "other", "its codes are not constants"),
        (4, 1, "ws", "not a product of two scales"),
        (2, 0, "other", "not scaled at once"),
    ],
)
def test_other_products_of_integers_are_refused(
    node: int, index: int, name: str, reason: str
) -> None:
    proto, _ = dynamic("spelled", TensorProto.UINT8)
    proto.graph.node[node].input[index] = name
    proto.graph.input.append(helper.make_tensor_value_info("other", TensorProto.UINT8, [4, 40]))
    after = ir.from_proto(proto)
    (miss,) = read_integer_products(after).misses
    assert reason in miss.reason
    with pytest.raises(GraphError, match="not read"):
        read_quantized_weights(after)
