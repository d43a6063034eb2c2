"""What passes do with quantised weights after the intake."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from quantized_models import F16, F32, Linear, answer

from onnx_passes.dequantize import dequantize
from onnx_passes.fold_constants import fold_constants
from onnx_passes.ir.infer import infer
from onnx_passes.weights.quantized import QuantizedWeight, quantized
from onnx_passes.weights.stacked import stacked
from opencl_kernels.formats import Quantized


def random_weight(N: int, K: int, bits: int, group: int, scale: Any, zero: Any, seed: int) -> Any:
    random, groups = np.random.default_rng(seed), -(-K // group)
    codes = random.integers(0, 2**bits, (N, K)).astype(np.uint8)
    scales = random.random((N, groups)).astype(scale)
    zeros = None if zero is None else random.integers(0, 2**bits, (N, groups)).astype(zero)
    whole = Quantized(codes, scales, zeros, bits, group)
    names = {np.float32: "f32", np.float16: "f16", np.uint8: "u8", None: None}

    def make(first: int, stop: int) -> Quantized:
        zeros = None if whole.zero_NG is None else whole.zero_NG[first:stop]
        parts = whole.codes_NK[first:stop], whole.scale_NG[first:stop], zeros
        return Quantized(*parts, bits, group)

    return QuantizedWeight(N, K, bits, group, names[scale] or "", names[zero], make)


@pytest.mark.parametrize("seed", range(20))
def test_weights_of_any_codes_stack_exactly(seed: int) -> None:
    dice = np.random.default_rng(seed)
    K = int(dice.integers(1, 300))
    weights = [
        random_weight(
            int(dice.integers(1, 20)),
            K,
            int(dice.choice([4, 8])),
            int(dice.choice([16, 32, 64, 256])),
            [np.float32, np.float16][dice.integers(2)],
            [None, np.uint8, np.float16, np.float32][dice.integers(4)],
            seed,
        )
        for _ in range(3)
    ]
    whole = stacked(weights)
    assert whole is not None
    expected = np.concatenate([w.make(0, w.N).values() for w in weights])
    made = whole.make(0, whole.N)
    np.testing.assert_array_equal(made.values(), expected)
    assert (made.bits, made.group) == (whole.bits, whole.group)
    first, stop = sorted(int(i) for i in dice.integers(0, whole.N + 1, 2))
    if first < stop:
        np.testing.assert_array_equal(whole.make(first, stop).values(), expected[first:stop])
    assert stacked([weights[0], random_weight(3, K + 1, 4, 16, np.float32, None, 0)]) is None


def test_transposes_and_casts_keep_the_codes() -> None:
    case = Linear(TensorProto.INT4, axis=1, block=16)
    proto = case.proto("turned")
    cast = helper.make_node("Cast", ["t"], ["c"], to=F16)
    back = helper.make_node("Cast", ["c"], ["d"], to=F32)
    proto.graph.node.insert(2, cast)
    proto.graph.node.insert(3, back)
    proto.graph.node[-1].input[1] = "d"
    after = ir.from_proto(proto)
    dequantize(after)
    infer(after)
    fold_constants(after)
    assert [n.op_type for n in after.graph] == ["MatMul"]
    found = quantized(after.graph[0].inputs[1])
    assert found is not None and found.transposed and found.dtype == ir.DataType.FLOAT
    ours, theirs = (answer(m, case.x("turned")) for m in (ir.to_proto(after), proto))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
