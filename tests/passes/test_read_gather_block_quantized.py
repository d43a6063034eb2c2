"""GatherBlockQuantized keeps its codes, and says what it said: ONNX Runtime is the judge."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from quantized_models import F16, F32, INTS, NP, answer, model, nbits, pack, reads, weight_of

from onnx_passes.ir.edit import drop_unused
from onnx_passes.read_quantized_weights import read_quantized_weights
from onnx_passes.weights.quantized import quantized


@pytest.mark.parametrize(
    ("kind", "bits", "D", "block", "zero"),
    [
        (TensorProto.UINT8, 4, 64, 32, False),
        (TensorProto.UINT8, 4, 40, 16, True),
        (TensorProto.UINT8, 8, 64, 32, False),
        (TensorProto.UINT8, 8, 72, 32, True),
        (TensorProto.UINT4, 4, 64, 16, False),
        (TensorProto.UINT4, 4, 64, 32, True),
        (TensorProto.INT4, 4, 64, 32, False),
        (TensorProto.INT4, 4, 48, 16, True),
    ],
)
@pytest.mark.parametrize("dtype", [F32, F16], ids=["f32", "f16"])
def test_gather_block_quantized(
    kind: int, bits: int, D: int, block: int, zero: bool, dtype: int
) -> None:
    random, V, blocks = np.random.default_rng(D), 12, -(-D // block)
    low = -(2 ** (bits - 1)) if kind == TensorProto.INT4 else 0
    codes = random.integers(low, low + 2**bits, (V, D))
    zeros = random.integers(low, low + 2**bits, (V, blocks))
    whole = kind != TensorProto.UINT8
    constants = {
        "data": codes.astype(INTS[kind]) if whole else pack(codes, bits),
        "scales": (random.random((V, blocks)) + 0.1).astype(NP[dtype]),
        "zeros": None if not zero else zeros.astype(INTS[kind]) if whole else pack(zeros, bits),
    }
    attributes = {"bits": bits, "block_size": block, "quantize_axis": 1, "gather_axis": 0}
    node = helper.make_node(
        "GatherBlockQuantized",
        ["data", "x", "scales", "zeros"],
        ["y"],
        "node",
        domain="com.microsoft",
        **attributes,
    )
    after = reads(
        read_quantized_weights,
        model([node], constants, TensorProto.INT64, dtype),
        np.arange(V)[None],
        1e-6,
    )
    weight = weight_of(after)
    assert (weight.weight.N, weight.weight.K, weight.weight.bits) == (V, D, bits)
    assert not weight.transposed
    np.testing.assert_array_equal(weight.weight.make(3, 4).codes_NK, (codes - low)[3:4])


def test_tied_codes_are_one_weight() -> None:
    """The GenAI builder's embedding: the head's codes behind a Reshape, with its scales."""
    attributes, inputs, _ = nbits(48, 64, 4, 32)
    constants = {**inputs, "shape": np.array([48, -1], np.int64), "g_idx": None, "bias": None}
    embed = {"bits": 4, "block_size": 32, "gather_axis": 0, "quantize_axis": 1}
    nodes = [
        helper.make_node("Reshape", ["B", "shape"], ["table"]),
        helper.make_node(
            "GatherBlockQuantized", ["table", "x", "scales"], ["e"], domain="com.microsoft", **embed
        ),
        helper.make_node(
            "MatMulNBits", ["e", "B", "scales"], ["y"], domain="com.microsoft", **attributes
        ),
    ]
    proto = model(nodes, constants, TensorProto.INT64)
    after = ir.from_proto(proto)
    assert read_quantized_weights(after).rewrites == 2
    drop_unused(after)
    gather, head = (quantized(v) for n in after.graph for v in n.inputs if quantized(v))
    assert gather is not None and head is not None and gather.weight is head.weight
    ours, theirs = (answer(m, np.arange(48)) for m in (ir.to_proto(after), proto))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
