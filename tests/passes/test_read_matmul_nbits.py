"""MatMulNBits keeps its codes, and says what it said: ONNX Runtime is the judge."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper
from quantized_models import F16, F32, NP, model, nbits, reads, weight_of

from onnx_passes.ir.graph import GraphError
from onnx_passes.read_quantized_weights import read_quantized_weights


def matmul(
    attributes: dict[str, Any], inputs: dict[str, np.ndarray | None], dtype: int = F32
) -> Any:
    names = ["x", "B", "scales", "zeros", "g_idx", "bias"]
    node = helper.make_node(
        "MatMulNBits", names, ["y"], "node", domain="com.microsoft", **attributes
    )
    return model([node], {"g_idx": None, "bias": None, **inputs}, dtype, dtype)


CASES = [
    (16, 64, 4, 16, ""),
    (24, 172, 4, 32, "packed"),  # a tail, and an odd number of zero points
    (7, 40, 4, 16, "packed"),
    (33, 300, 4, 128, ""),
    (16, 256, 4, 256, "packed"),
    (16, 96, 4, 64, "float"),
    (16, 64, 8, 16, ""),
    (24, 172, 8, 32, "packed"),
    (9, 100, 8, 64, ""),
    (16, 64, 2, 16, ""),
    (24, 172, 2, 32, "packed"),  # an odd number of zero points for a byte
    (33, 300, 2, 128, "packed"),
]


@pytest.mark.parametrize("dtype", [F32, F16], ids=["f32", "f16"])
@pytest.mark.parametrize(("N", "K", "bits", "block", "zero"), CASES)
def test_matmul_nbits(N: int, K: int, bits: int, block: int, zero: str, dtype: int) -> None:
    attributes, inputs, expected = nbits(N, K, bits, block, dtype, zero, seed=N)
    x = np.random.default_rng(1).standard_normal((3, K)).astype(NP[dtype])
    after = reads(
        read_quantized_weights, matmul(attributes, inputs, dtype), x, 2e-6 if dtype == F32 else 3e-3
    )
    found = weight_of(after)
    made = found.weight.make(0, N)
    for field in ("codes_NK", "scale_NG", "zero_NG"):
        ours, theirs = getattr(made, field), getattr(expected, field)
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)
    part = found.weight.make(2, 5)
    np.testing.assert_array_equal(part.codes_NK, expected.codes_NK[2:5])
    assert found.transposed and found.shape == (K, N)
    assert found.dtype == (ir.DataType.FLOAT if dtype == F32 else ir.DataType.FLOAT16)


@pytest.mark.parametrize("seed", range(12))
def test_matmul_nbits_at_random(seed: int) -> None:
    dice = np.random.default_rng(seed)
    N, K, bits = int(dice.integers(1, 70)), int(dice.integers(1, 300)), int(dice.choice([2, 4, 8]))
    block, zero = int(dice.choice([16, 32, 64, 128, 256])), str(dice.choice(["", "packed"]))
    attributes, inputs, _ = nbits(N, K, bits, block, F32, zero, seed)
    if dice.random() < 0.5:  # scales may be flat
        assert inputs["scales"] is not None
        inputs["scales"] = inputs["scales"].reshape(-1)
    if dice.random() < 0.5:
        inputs["bias"] = dice.standard_normal(N).astype(np.float32)
    attributes["accuracy_level"] = int(dice.choice([0, 1]))
    x = dice.standard_normal((int(dice.integers(1, 5)), K)).astype(np.float32)
    after = reads(read_quantized_weights, matmul(attributes, inputs), x, 5e-6)
    assert [n.op_type for n in after.graph] == ["MatMul", "Add"][: 1 + ("bias" in inputs)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"g_idx": np.zeros(64, np.int32)}, ["g_idx", "desc_act"]),
        ({"bits": 3}, ["3 bits", "2, 4 and 8 are read"]),
        ({"block_size": 8}, ["blocks of 8", "(16, 32, 64, 128, 256)"]),
        ({"block_size": 512}, ["blocks of 512"]),
        ({"N": 0}, ["N 0"]),
        ({"K": 1000}, ["its codes are uint8 [16, 2, 16]", "bytes are right"]),
        ({"scales": np.ones((16, 3), np.float32)}, ["scales are float [16, 3]", "[16, 2]"]),
        ({"scales": np.ones((16, 2), np.int32)}, ["scales are int32 [16, 2]"]),
        ({"scales": None}, ["scales are not constants"]),
        ({"zeros": np.ones((16, 2), np.uint8)}, ["zero points are uint8 [16, 2]", "16 bytes"]),
        ({"B": np.ones((16, 2, 16), np.float32)}, ["its codes are float [16, 2, 16]"]),
        ({"weight_prepacked": 1}, ["packed for CUDA"]),
        ({"bits": "x"}, ["bits is 'x'", "no integer"]),
        ({"block_size": [32]}, ["block_size is [32]"]),
        ({"N": 1.5}, ["N is 1.5"]),
        ({"bias": np.ones(7, np.float32)}, ["its bias is float [7]", "[16] are right"]),
    ],
)
def test_damaged_nodes_are_named(change: dict[str, Any], words: list[str]) -> None:
    attributes, inputs, _ = nbits(16, 64, 4, 32)
    for key, value in change.items():
        kind = inputs if key in ("g_idx", "scales", "zeros", "B", "bias") else attributes
        kind[key] = value
    with pytest.raises(GraphError) as error:
        read_quantized_weights(ir.from_proto(matmul(attributes, inputs)))
    assert error.value.what == "the quantised weight of node (MatMulNBits) cannot be read"
    assert all(word in f"{error.value.because} {error.value.hint}" for word in words), error.value
    assert error.value.hint


@pytest.mark.parametrize(("name", "kind"), [("scales", "scale"), ("zeros", "zero point")])
@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_scales_that_are_no_numbers_are_refused_when_read(
    name: str, kind: str, fault: float
) -> None:
    attributes, inputs, _ = nbits(16, 64, 4, 32, zero="float")
    damaged = inputs[name]
    assert damaged is not None
    damaged[5, 1] = fault
    after = ir.from_proto(matmul(attributes, inputs))
    read_quantized_weights(after)
    weight = weight_of(after).weight
    weight.make(0, 5)
    with pytest.raises(GraphError, match=f"of node .*a {kind} of it is NaN or infinite"):
        weight.make(5, 16)
