"""Weights of experts side by side, and columns in another order, by any part of them."""

import numpy as np
import onnx_ir as ir
import pytest

from onnx_passes.weights import lazy
from onnx_passes.weights.e0m4 import quantize
from onnx_passes.weights.picked import SideBySide, gates_before_ups, joined_by_expert, picked
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight
from opencl_kernels.formats import Quantized

E, N, K = 3, 10, 7


def check(tensor: ir.TensorProtocol, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(tensor.numpy(), expected)
    dice, (rows, columns) = np.random.default_rng(0), expected.shape
    for _ in range(20):
        a, b = np.sort(dice.choice(rows + 1, 2, replace=False))
        np.testing.assert_array_equal(lazy.part(tensor, 0, a, b), expected[a:b])
        a, b = np.sort(dice.choice(columns + 1, 2, replace=False))
        np.testing.assert_array_equal(lazy.part(tensor, 1, a, b), expected[:, a:b])


def weights(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((E, N, K)).astype(np.float32)


@pytest.mark.parametrize("turned", [False, True])
def test_experts_lie_side_by_side(turned: bool) -> None:
    array = weights()
    source = np.ascontiguousarray(array.transpose(0, 2, 1)) if turned else array
    check(SideBySide(ir.tensor(source), turned, "w"), array.reshape(E * N, K).T)


def test_columns_in_any_order() -> None:
    array = weights().reshape(E * N, K).T.copy()
    dice = np.random.default_rng(2)
    for order in (dice.permutation(E * N), dice.integers(0, E * N, 50), np.arange(E * N)[::-1]):
        check(picked(ir.tensor(array), order, "w"), array[:, order])


def test_gates_before_ups() -> None:
    even_first = [0, 2, 4, 1, 3, 5]
    assert gates_before_ups(2, 6).tolist() == [*even_first, *(6 + i for i in even_first)]


def test_gates_and_ups_join_by_expert() -> None:
    gates, ups = weights(3), weights(4)
    both = [ir.tensor(w.reshape(E * N, K).T.copy()) for w in (gates, ups)]
    expected = np.concatenate([gates, ups], axis=1).reshape(-1, K).T
    check(joined_by_expert(*both, E, "w"), expected)


def codes(array: np.ndarray, symmetric: bool) -> QuantizedTensor:
    """[E * N, K] in codes, as MatMul has it."""
    made = quantize(array, 16, symmetric=symmetric)

    def rows(first: int, stop: int) -> Quantized:
        zero = None if made.zero_NG is None else made.zero_NG[first:stop]
        return Quantized(made.codes_NK[first:stop], made.scale_NG[first:stop], zero, 4, 16)

    zero = None if symmetric else "u8"
    weight = QuantizedWeight(len(array), array.shape[1], 4, 16, "f16", zero, rows)
    return QuantizedTensor(weight, ir.DataType.FLOAT, True, "w")


@pytest.mark.parametrize("symmetric", [False, True])
def test_codes_stay_codes(symmetric: bool) -> None:
    gates, ups = (codes(weights(seed).reshape(E * N, K), symmetric) for seed in (5, 6))
    joined = joined_by_expert(gates, ups, E, "w")
    assert isinstance(joined, QuantizedTensor)
    pairs = [w.numpy().T.reshape(E, N, K) for w in (gates, ups)]
    expected = np.concatenate(pairs, axis=1).reshape(-1, K)
    np.testing.assert_array_equal(joined.numpy(), expected.T)
    for first, stop in ((0, 60), (3, 4), (7, 41)):
        made = joined.weight.make(first, stop)
        np.testing.assert_array_equal(made.values(), expected[first:stop])
        assert (made.zero_NG is None) == symmetric
