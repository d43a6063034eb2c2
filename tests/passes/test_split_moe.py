"""MoE and QMoE, spelled out: ONNX Runtime is the judge where it computes them, else numpy."""

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from pass_helpers import run
from quantized_models import NP, pack

from onnx_passes.ir.edit import drop_unused
from onnx_passes.plain_ops import plain_ops
from onnx_passes.split_moe import split_moe
from onnx_passes.weights.quantized import quantized

E, D, F, K, M = 5, 32, 48, 2, 7
SWIGLU = {"activation_type": "swiglu", "swiglu_fusion": 1}
OSS = {**SWIGLU, "activation_alpha": 1.702, "activation_beta": 1.0, "swiglu_limit": 0.7}
ACTIVATIONS: dict[str, dict[str, Any]] = {
    **{name: {"activation_type": name} for name in ("relu", "silu", "gelu", "identity")},
    "swiglu": SWIGLU,
    "swiglu of gpt-oss": OSS,
}


def mixture(
    op: str, inputs: list[np.ndarray | None], dtype: int = TensorProto.FLOAT, **attributes: Any
) -> onnx.ModelProto:
    """A model of one such node; inputs that are None are left out."""
    names = [f"c{i}" if array is not None else "" for i, array in enumerate(inputs)]
    node = helper.make_node(
        op, ["x", "router", *names], ["y"], "node", domain="com.microsoft", k=K, **attributes
    )
    inits = [numpy_helper.from_array(a, n) for a, n in zip(inputs, names, strict=True) if n]
    sizes = {"x": ["B", "S", D], "router": ["M", E]}
    ends = [helper.make_tensor_value_info(name, dtype, dims) for name, dims in sizes.items()]
    y = helper.make_tensor_value_info("y", dtype, ["B", "S", D])
    graph = helper.make_graph([node], "g", ends, [y], inits)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def feeds(dtype: int = TensorProto.FLOAT) -> dict[str, np.ndarray]:
    dice = np.random.default_rng(3)
    x, router = dice.standard_normal((1, M, D)), dice.standard_normal((M, E))
    return {"x": x.astype(NP[dtype]), "router": router.astype(NP[dtype])}


def floats(width: int, biased: bool, dtype: int = TensorProto.FLOAT) -> list[np.ndarray | None]:
    """Weights and biases of fc1 [E, width, D] and fc2 [E, D, F]."""
    dice = np.random.default_rng(width)
    parts: list[np.ndarray | None] = []
    for N, depth in ((width, D), (D, F)):
        parts.append((dice.standard_normal((E, N, depth)) / 5).astype(NP[dtype]))
        parts.append(dice.standard_normal((E, N)).astype(NP[dtype]) if biased else None)
    return parts


def spelled(proto: onnx.ModelProto) -> ir.Model:
    after = ir.from_proto(proto)
    assert split_moe(after).rewrites == 1
    drop_unused(after)
    assert sum(node.op_type == "Experts" for node in after.graph) == 2
    return after


def check(proto: onnx.ModelProto, given: dict[str, np.ndarray], tolerance: float = 2e-6) -> None:
    """The model says the same after the pass."""
    (theirs,), (ours,) = (run(m, given) for m in (ir.from_proto(proto), spelled(proto)))
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    bound = np.abs(theirs.astype(np.float32)).max() * tolerance
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


@pytest.mark.parametrize("normalised", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_moe(activation: dict[str, Any], biased: bool, normalised: int) -> None:
    width = 2 * F if "swiglu_fusion" in activation else F
    inputs = floats(width, biased)
    check(mixture("MoE", inputs, normalize_routing_weights=normalised, **activation), feeds())


def test_moe_of_halves() -> None:
    """ONNX Runtime 1.31 computes it in float32 only: in float16 it answers something else."""
    half, given = TensorProto.FLOAT16, feeds(TensorProto.FLOAT16)
    inputs = floats(2 * F, True, half)
    wide = [None if a is None else a.astype(np.float32) for a in inputs]
    wide_given = {name: array.astype(np.float32) for name, array in given.items()}
    (theirs,) = run(ir.from_proto(mixture("MoE", wide, **SWIGLU)), wide_given)
    (ours,) = run(spelled(mixture("MoE", inputs, half, **SWIGLU)), given)
    assert ours.dtype == np.float16
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3 * np.abs(theirs).max())


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


@pytest.mark.parametrize(
    ("kind", "order"),
    [("swiglu", "apart"), ("silu", "apart"), ("swiglu", "one after the other")],
)
def test_gates_and_ups_that_onnxruntime_does_not_compute(kind: str, order: str) -> None:
    """As fc1 and fc3, or one below the other (swiglu_fusion 2)."""
    both, bias, down, _ = floats(2 * F, True)
    assert both is not None and bias is not None and down is not None
    inputs, fusion = [both, bias, down, None], 2
    if order == "apart":
        gates, ups = np.split(both, 2, axis=1)
        inputs = [gates, bias[:, :F].copy(), down, None, ups, bias[:, F:].copy()]
        fusion = 0
    proto = mixture("MoE", inputs, activation_type=kind, swiglu_fusion=fusion)
    given = feeds()
    odds = np.exp(given["router"])
    odds /= odds.sum(axis=1, keepdims=True)
    expected = np.zeros((M, D))
    for m, chosen in enumerate(np.argsort(-odds)[:, :K]):
        for e in chosen:
            h = both[e] @ given["x"][0, m] + bias[e]
            gate, up = np.split(h, 2)
            expected[m] += odds[m, e] * (down[e] @ (gate * sigmoid(gate) * up))
    (y,) = run(spelled(proto), given)
    np.testing.assert_allclose(y[0], expected, rtol=1e-4, atol=1e-4)


def codes(
    width: int, bits: int, block: int, zero: bool, biased: bool = True
) -> list[np.ndarray | None]:
    """Inputs of a QMoE from fc1 on."""
    dice = np.random.default_rng(width + bits)
    weights: list[np.ndarray | None] = []
    zeros: list[np.ndarray | None] = []
    for N, depth in ((width, D), (D, F)):
        groups = (depth // block,) if block else ()
        scale = (dice.random((E, N, *groups)) / 2 ** (bits - 1) + 0.01).astype(np.float32)
        bias = dice.standard_normal((E, N)).astype(np.float32) if biased else None
        weights += [pack(dice.integers(0, 2**bits, (E, N, depth)), bits), scale, bias]
        points = dice.integers(0, 2**bits, (E, N, *groups))
        zeros.append(pack(points, bits) if zero else None)
    return [*weights, None, None, None, *zeros]


CODES = [(4, 16, False), (4, 16, True), (4, 0, False), (4, 0, True), (2, 16, False)]


@pytest.mark.parametrize("normalised", [0, 1])
@pytest.mark.parametrize(("bits", "block", "zero"), CODES)
def test_qmoe(bits: int, block: int, zero: bool, normalised: int) -> None:
    extra = {"block_size": block} if block else {}
    proto = mixture(
        "QMoE",
        codes(2 * F, bits, block, zero),
        expert_weight_bits=bits,
        normalize_routing_weights=normalised,
        accuracy_level=1,
        **SWIGLU,
        **extra,
    )
    check(proto, feeds(), 1e-5)
    found = [quantized(v) for v in spelled(proto).graph.initializers.values() if quantized(v)]
    assert [each.transposed for each in found if each] == [True, True]


def test_qmoe_of_8_bits_loses_the_rounding_of_activations() -> None:
    extra = {"expert_weight_bits": 8, "block_size": 16, **SWIGLU}
    proto = mixture("QMoE", codes(2 * F, 8, 16, False), **extra)
    check(proto, feeds(), 0.05)
    (miss,) = split_moe(ir.from_proto(proto)).misses
    assert "no longer rounded" in miss.reason


@pytest.mark.parametrize("normalised", [0, 1])
def test_what_experts_count_may_be_told_apart_from_their_choice(normalised: int) -> None:
    mixing = np.random.default_rng(8).random((M, E)).astype(np.float32)
    inputs = [*codes(2 * F, 4, 16, False), None, mixing]
    extra = {"normalize_routing_weights": normalised, "block_size": 16, **SWIGLU}
    check(mixture("QMoE", inputs, **extra), feeds(), 1e-5)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"use_sparse_mixer": 1}, "use_sparse_mixer = 1 is not supported"),
        ({"activation_type": "tanh"}, "'tanh'"),
        ({"activation_type": "swiglu"}, "neither one weight nor two"),
        ({"made_up": 1}, "made_up is not known"),
    ],
)
def test_what_is_not_known_is_left(attributes: dict[str, Any], reason: str) -> None:
    after = ir.from_proto(mixture("MoE", floats(F, False), **attributes))
    outcome = split_moe(after)
    assert outcome.rewrites == 0 and reason in outcome.misses[0].reason


def test_gelu_becomes_plain() -> None:
    after = spelled(mixture("MoE", floats(F, False), activation_type="gelu"))
    plain_ops(after)
    assert not [node for node in after.graph if node.domain == "com.microsoft"]
