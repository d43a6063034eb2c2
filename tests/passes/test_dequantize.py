"""DequantizeLinear keeps its codes, and says what it said: ONNX Runtime is the judge."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from quantized_models import F16, F32, Linear, model, reads, tensor, weight_of

from onnx_passes.dequantize import dequantize
from onnx_passes.ir.graph import GraphError
from onnx_passes.read_quantized_weights import read_quantized_weights
from onnx_passes.weights.quantized import quantized
from toolkit.compiler.inspection import why


@pytest.mark.parametrize("use", ["matmul", "turned", "gather"])
@pytest.mark.parametrize(
    "case",
    [
        Linear(TensorProto.INT4, block=16),
        Linear(TensorProto.INT4, axis=0, block=32, zero=False),
        Linear(TensorProto.INT4, axis=0, block=16, shape=(40, 7)),  # rows begin inside a byte
        Linear(TensorProto.UINT4, axis=1, block=16, shape=(5, 40)),
        Linear(TensorProto.UINT4, axis=-1, block=48, zero=False),
        Linear(TensorProto.INT8, axis=0, block=64, dtype=F16),
        Linear(TensorProto.UINT8, axis=1, block=32),
        Linear(TensorProto.UINT8, axis=1, zero=False),
        Linear(TensorProto.INT8, axis=0),
        Linear(TensorProto.INT8, axis=1, zero=False, opset=13),
        Linear(TensorProto.INT8, single=True, zero=False, opset=18),
        Linear(TensorProto.UINT8, single=True, opset=10),
        Linear(TensorProto.UINT4, single=True, shape=(33, 9)),
    ],
    ids=lambda c: f"{TensorProto.DataType.Name(c.kind)}-axis{c.axis}-{c.block}-{c.single}-{c.zero}",
)
def test_dequantize_linear(case: Linear, use: str) -> None:
    after = reads(dequantize, case.proto(use), case.x(use), 1e-6 if case.dtype == F32 else 1e-3)
    along = 0 if use == "matmul" else 1  # where K runs
    axis = case.axis % 2
    keeps = case.single or ((axis == along) if case.block else (axis != along))
    found = [quantized(v) for v in after.graph.initializers.values() if quantized(v)]
    assert len(found) == int(keeps)
    if found:
        weight = weight_of(after).weight
        turned = case.shape if along else case.shape[::-1]
        assert turned == (weight.N, weight.K)
        q = case.constants()["q"]
        assert q is not None
        codes = q.astype(np.int32) + (8 if case.kind == TensorProto.INT4 else 0)
        codes = codes + (128 if case.kind == TensorProto.INT8 else 0)
        expected = codes if along else codes.T
        np.testing.assert_array_equal(weight.make(0, weight.N).codes_NK, expected)
        np.testing.assert_array_equal(weight.make(2, 4).codes_NK, expected[2:4])


@pytest.mark.parametrize(
    ("case", "use", "reason"),
    [
        (Linear(TensorProto.INT4, axis=1, block=16), "matmul", "its blocks run along N"),
        (Linear(TensorProto.INT8, axis=0), "matmul", "differ along K without blocks"),
        (Linear(TensorProto.INT8, axis=0, block=8), "matmul", "blocks of 8 are no multiple of 16"),
    ],
)
def test_codes_that_kernels_cannot_read_become_floats_and_say_why(
    case: Linear, use: str, reason: str, tmp_path: Path
) -> None:
    reads(dequantize, case.proto(use), case.x(use))
    (miss,) = dequantize(ir.from_proto(case.proto(use))).misses
    assert reason in miss.reason and miss.node == "node"
    onnx.save(case.proto(use), tmp_path / "model.onnx")
    assert why(tmp_path / "model.onnx", "dequantize") == [str(miss)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"s": np.ones((4, 5), np.float32)}, "its scales are [4, 5] for codes [64, 48]"),
        ({"z": np.zeros((4, 48), np.uint8)}, "another type than its codes"),
        ({"z": np.zeros((3, 48), np.int8)}, "its zero points are [3, 48]"),
        ({"s": np.ones((4, 48), np.int32)}, "int8 with scales in int32"),
        ({"s": np.ones((4, 48), np.float64)}, "int8 with scales in double"),
        ({"q": np.ones((64, 48), np.float16)}, "its codes are float16"),
        ({"output_dtype": 7}, "its output_dtype is 7"),
        ({"output_dtype": 999}, "its output_dtype is 999"),
    ],
)
def test_damaged_dequantize_linear(change: dict[str, Any], words: str) -> None:
    case = Linear(TensorProto.INT8, axis=0, block=16)
    proto = case.proto("matmul")
    for name, array in change.items():
        if name == "output_dtype":
            node = next(n for n in proto.graph.node if n.op_type == "DequantizeLinear")
            node.attribute.append(onnx.helper.make_attribute(name, array))
            continue
        (old,) = [t for t in proto.graph.initializer if t.name == name]
        old.CopyFrom(tensor(array, name))
    with pytest.raises(GraphError) as error:
        dequantize(ir.from_proto(proto))
    assert words in error.value.because and "node (DequantizeLinear)" in error.value.what


@pytest.mark.parametrize("op_type", ["MatMulInteger", "QuantizeLinear", "QMoE"])
def test_other_quantisation_is_refused_by_name(op_type: str) -> None:
    node = helper.make_node(op_type, ["x", "x"], ["y"], "node", domain="")
    with pytest.raises(GraphError, match=f"{op_type} at node"):
        read_quantized_weights(ir.from_proto(model([node], {}, F32)))


def gathered(scales: int, axis: int) -> onnx.ModelProto:
    """Rows or columns of a table of codes, which become floats after they are gathered."""
    dice = np.random.default_rng(3)
    constants: dict[str, np.ndarray | None] = {
        "table": dice.integers(0, 256, (12, 40)).astype(np.uint8),
        "s": np.asarray(dice.random(scales) + 0.1 if scales else 0.3, np.float32),
        "z": np.asarray(dice.integers(100, 150, scales) if scales else 130, np.uint8),
    }
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["q"], axis=axis),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], "node", axis=axis),
    ]
    return model(nodes, constants, TensorProto.INT64, F32)


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_that_are_gathered_in_codes(axis: int) -> None:
    after = reads(dequantize, gathered(0, axis), np.array([3, 0, 11]), 1e-6)
    assert [node.op_type for node in after.graph] == ["Gather"]
    if axis == 0:
        weight = weight_of(after)
        assert (weight.weight.N, weight.weight.K, weight.transposed) == (12, 40, False)


def test_scales_of_rows_that_are_gathered_must_be_one() -> None:
    (miss,) = dequantize(ir.from_proto(gathered(3, 0))).misses
    assert miss.reason == "its scales are not gathered as its codes are"
