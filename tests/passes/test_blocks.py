"""Blocks of a matrix's rows side by side, by any part of them; codes stay codes."""

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.ir.rules import Miss
from onnx_passes.weights import lazy
from onnx_passes.weights.blocks import in_blocks
from onnx_passes.weights.e0m4 import quantize
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight
from opencl_kernels.formats import Quantized

B, K, N = 3, 32, 10


def beside(array: np.ndarray) -> np.ndarray:
    return np.concatenate(np.split(array, B), axis=1)


def matrix() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((B * K, N)).astype(np.float32)


def test_any_part_of_them() -> None:
    array, dice = matrix(), np.random.default_rng(2)
    tensor, expected = in_blocks(ir.tensor(array), B, "w"), beside(array)
    np.testing.assert_array_equal(tensor.numpy(), expected)
    for axis in (0, 1):
        for _ in range(20):
            a, b = np.sort(dice.choice(expected.shape[axis] + 1, 2, replace=False))
            part = expected[a:b] if axis == 0 else expected[:, a:b]
            np.testing.assert_array_equal(lazy.part(tensor, axis, a, b), part)


def codes(group: int, symmetric: bool) -> QuantizedTensor:
    made = quantize(np.ascontiguousarray(matrix().T), group, symmetric=symmetric)

    def rows(first: int, stop: int) -> Quantized:
        zero = None if made.zero_NG is None else made.zero_NG[first:stop]
        return Quantized(made.codes_NK[first:stop], made.scale_NG[first:stop], zero, 4, group)

    weight = QuantizedWeight(N, B * K, 4, group, "f16", None if symmetric else "u8", rows)
    return QuantizedTensor(weight, ir.DataType.FLOAT, True, "w")


@pytest.mark.parametrize("symmetric", [False, True])
def test_codes_stay_codes(symmetric: bool) -> None:
    source = codes(16, symmetric)
    tensor, expected = in_blocks(source, B, "w"), beside(source.numpy())
    assert isinstance(tensor, QuantizedTensor)
    np.testing.assert_array_equal(tensor.numpy(), expected)
    for first, stop in ((0, B * N), (3, 4), (7, 21), (N, 2 * N)):
        made = tensor.weight.make(first, stop)
        np.testing.assert_array_equal(made.values(), expected.T[first:stop])


def test_a_group_lies_in_one_block() -> None:
    with pytest.raises(Miss, match="no multiple"):
        in_blocks(codes(64, True), B, "w")
