"""Quantised sources keep their codes, and say what they said: ONNX Runtime is the judge."""

import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from pass_helpers import SHARED, read

import onnx_passes
from onnx_passes.coded import CodedTensor, CodedWeight, coded, stacked
from onnx_passes.edit import drop_unused
from onnx_passes.fold_constants import fold_constants
from onnx_passes.graph import GraphError, explaining
from onnx_passes.infer import infer
from onnx_passes.quantize_e0m4 import find_matrices
from onnx_passes.read_coded_weights import read_coded_weights
from opencl_kernels.formats import Coded
from toolkit.reference import Reference
from toolkit.source import load_source

F32, F16 = TensorProto.FLOAT, TensorProto.FLOAT16
NP = {F32: np.float32, F16: np.float16}
INTS = {
    TensorProto.INT4: ml_dtypes.int4,
    TensorProto.UINT4: ml_dtypes.uint4,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
}


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes along the last axis in bytes, the first in the low half; an odd one is alone."""
    if bits == 8:
        return codes.astype(np.uint8)
    odd = codes.shape[-1] % 2
    even = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, odd)]).astype(np.uint8)
    return np.asarray(even[..., 0::2] | even[..., 1::2] << 4)


def tensor(array: np.ndarray, name: str) -> TensorProto:
    if array.dtype in (ml_dtypes.int4, ml_dtypes.uint4):
        kind = TensorProto.INT4 if array.dtype == ml_dtypes.int4 else TensorProto.UINT4
        raw = pack(array.astype(np.int8).view(np.uint8).reshape(-1) & 15, 4).tobytes()
        return TensorProto(name=name, data_type=kind, dims=array.shape, raw_data=raw)
    return numpy_helper.from_array(np.ascontiguousarray(array), name)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: dict[str, np.ndarray | None],
    x: int,
    y: int = F32,
    opset: int = 21,
) -> onnx.ModelProto:
    """A graph from `x` to `y`; constants that are None are left out."""
    inits = [tensor(array, name) for name, array in constants.items() if array is not None]
    for node in nodes:
        missing = [i for i, name in enumerate(node.input) if constants.get(name, node) is None]
        for i in missing:
            node.input[i] = ""
    ends = [helper.make_tensor_value_info(*end, None) for end in (("x", x), ("y", y))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], inits)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def answer(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def reads(proto: onnx.ModelProto, x: np.ndarray, tolerance: float = 2e-6) -> ir.Model:
    """The model after the intake, which answers as before."""
    after = ir.from_proto(proto)
    assert read_coded_weights(after) == 1
    drop_unused(after)
    ours, theirs = answer(ir.to_proto(after), x), answer(proto, x)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    scale = np.abs(theirs.astype(np.float32)).max() + 1e-30
    np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=tolerance)
    return after


def weight_of(after: ir.Model) -> CodedTensor:
    (found,) = [v.const_value for v in after.graph.initializers.values() if coded(v)]
    assert isinstance(found, CodedTensor)
    return found


# --- MatMulNBits ---------------------------------------------------------------------------------


def nbits(
    N: int, K: int, bits: int, block: int, dtype: int = F32, zero: str = "", seed: int = 0
) -> tuple[dict[str, Any], dict[str, np.ndarray | None], Coded]:
    """Attributes and inputs of a MatMulNBits, and what they mean."""
    random, blocks = np.random.default_rng(seed), -(-K // block)
    codes = random.integers(0, 2**bits, (N, blocks * block)).astype(np.uint8)
    scale = (random.random((N, blocks)) / 8 + 0.01).astype(NP[dtype])
    zeros = random.integers(0, 2**bits, (N, blocks)).astype(np.uint8)
    given: dict[str, np.ndarray | None] = {
        "": None,
        "packed": pack(zeros, bits),
        "float": (zeros + 0.25).astype(NP[dtype]),
    }
    inputs = {"B": pack(codes, bits).reshape(N, blocks, -1), "scales": scale, "zeros": given[zero]}
    kept = {"": None, "packed": zeros, "float": given["float"]}[zero]
    attributes = {"N": N, "K": K, "bits": bits, "block_size": block}
    return attributes, inputs, Coded(codes[:, :K], scale, kept, bits, block)


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
]


@pytest.mark.parametrize("dtype", [F32, F16], ids=["f32", "f16"])
@pytest.mark.parametrize(("N", "K", "bits", "block", "zero"), CASES)
def test_matmul_nbits(N: int, K: int, bits: int, block: int, zero: str, dtype: int) -> None:
    attributes, inputs, expected = nbits(N, K, bits, block, dtype, zero, seed=N)
    x = np.random.default_rng(1).standard_normal((3, K)).astype(NP[dtype])
    after = reads(matmul(attributes, inputs, dtype), x, 2e-6 if dtype == F32 else 3e-3)
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
    N, K, bits = int(dice.integers(1, 70)), int(dice.integers(1, 300)), int(dice.choice([4, 8]))
    block, zero = int(dice.choice([16, 32, 64, 128, 256])), str(dice.choice(["", "packed"]))
    attributes, inputs, _ = nbits(N, K, bits, block, F32, zero, seed)
    if dice.random() < 0.5:  # scales may be flat
        assert inputs["scales"] is not None
        inputs["scales"] = inputs["scales"].reshape(-1)
    if dice.random() < 0.5:
        inputs["bias"] = dice.standard_normal(N).astype(np.float32)
    attributes["accuracy_level"] = int(dice.choice([0, 1]))
    x = dice.standard_normal((int(dice.integers(1, 5)), K)).astype(np.float32)
    after = reads(matmul(attributes, inputs), x, 5e-6)
    assert [n.op_type for n in after.graph] == ["MatMul", "Add"][: 1 + ("bias" in inputs)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"g_idx": np.zeros(64, np.int32)}, ["g_idx", "desc_act"]),
        ({"bits": 2}, ["2 bits", "4 and 8 are read"]),
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
        read_coded_weights(ir.from_proto(matmul(attributes, inputs)))
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
    read_coded_weights(after)
    weight = weight_of(after).weight
    weight.make(0, 5)
    with pytest.raises(GraphError, match=f"of node .*a {kind} of it is NaN or infinite"):
        weight.make(5, 16)


# --- GatherBlockQuantized ------------------------------------------------------------------------


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
    after = reads(model([node], constants, TensorProto.INT64, dtype), np.arange(V)[None], 1e-6)
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
    assert read_coded_weights(after) == 2
    drop_unused(after)
    gather, head = (coded(v) for n in after.graph for v in n.inputs if coded(v))
    assert gather is not None and head is not None and gather.weight is head.weight
    ours, theirs = (answer(m, np.arange(48)) for m in (ir.to_proto(after), proto))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


# --- DequantizeLinear ----------------------------------------------------------------------------


@dataclasses.dataclass
class Linear:
    """A DequantizeLinear of a random matrix [R, C]."""

    kind: int
    axis: int = 1
    block: int = 0
    single: bool = False
    zero: bool = True
    dtype: int = F32
    shape: tuple[int, int] = (64, 48)
    opset: int = 21

    def constants(self) -> dict[str, np.ndarray | None]:
        random, info = np.random.default_rng(7), ml_dtypes.iinfo(INTS[self.kind])
        if self.single:
            scales: tuple[int, ...] = ()
        elif self.block:
            scales = tuple(
                -(-d // self.block) if i == self.axis % 2 else d for i, d in enumerate(self.shape)
            )
        else:
            scales = (self.shape[self.axis],)

        def codes(shape: tuple[int, ...]) -> np.ndarray:
            return np.asarray(random.integers(info.min, info.max + 1, shape)).astype(
                INTS[self.kind]
            )

        scale = np.asarray(random.random(scales) + 0.1).astype(NP[self.dtype])
        return {"q": codes(self.shape), "s": scale, "z": codes(scales) if self.zero else None}

    def proto(self, use: str) -> onnx.ModelProto:
        attributes = {"block_size": self.block} if self.block else {}
        if not self.single:
            attributes["axis"] = self.axis
        nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], "node", **attributes)]
        if use == "turned":
            nodes.append(helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]))
        ends = {"matmul": ("MatMul", "x", "w"), "turned": ("MatMul", "x", "t")}
        op_type, *inputs = ends.get(use, ("Gather", "w", "x"))
        nodes.append(helper.make_node(op_type, inputs, ["y"]))
        x = TensorProto.INT64 if use == "gather" else self.dtype
        return model(nodes, self.constants(), x, self.dtype, self.opset)

    def x(self, use: str) -> np.ndarray:
        R, C = self.shape
        if use == "gather":
            return np.arange(R)
        K = R if use == "matmul" else C
        return np.eye(K, dtype=NP[self.dtype])


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
    after = reads(case.proto(use), case.x(use), 1e-6 if case.dtype == F32 else 1e-3)
    along = 0 if use == "matmul" else 1  # where K runs
    axis = case.axis % 2
    keeps = case.single or ((axis == along) if case.block else (axis != along))
    found = [coded(v) for v in after.graph.initializers.values() if coded(v)]
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
    case: Linear, use: str, reason: str
) -> None:
    with explaining() as reasons:
        reads(case.proto(use), case.x(use))
    assert any(reason in line and "node" in line for line in reasons), reasons


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
        read_coded_weights(ir.from_proto(proto))
    assert words in error.value.because and "node (DequantizeLinear)" in error.value.what


@pytest.mark.parametrize("op_type", ["MatMulInteger", "QuantizeLinear", "QMoE"])
def test_other_quantisation_is_refused_by_name(op_type: str) -> None:
    node = helper.make_node(op_type, ["x", "x"], ["y"], "node", domain="")
    with pytest.raises(GraphError, match=f"{op_type} at node"):
        read_coded_weights(ir.from_proto(model([node], {}, F32)))


# --- later passes --------------------------------------------------------------------------------


def random_weight(N: int, K: int, bits: int, group: int, scale: Any, zero: Any, seed: int) -> Any:
    random, groups = np.random.default_rng(seed), -(-K // group)
    codes = random.integers(0, 2**bits, (N, K)).astype(np.uint8)
    scales = random.random((N, groups)).astype(scale)
    zeros = None if zero is None else random.integers(0, 2**bits, (N, groups)).astype(zero)
    whole = Coded(codes, scales, zeros, bits, group)
    names = {np.float32: "f32", np.float16: "f16", np.uint8: "u8", None: None}

    def make(first: int, stop: int) -> Coded:
        zeros = None if whole.zero_NG is None else whole.zero_NG[first:stop]
        parts = whole.codes_NK[first:stop], whole.scale_NG[first:stop], zeros
        return Coded(*parts, bits, group)

    return CodedWeight(N, K, bits, group, names[scale] or "", names[zero], make)


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
    read_coded_weights(after)
    infer(after)
    fold_constants(after)
    assert [n.op_type for n in after.graph] == ["MatMul"]
    found = coded(after.graph[0].inputs[1])
    assert found is not None and found.transposed and found.dtype == ir.DataType.FLOAT
    ours, theirs = (answer(m, case.x("turned")) for m in (ir.to_proto(after), proto))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


# --- whole models --------------------------------------------------------------------------------

SOURCES = [
    *(f"real/stories260K-hd16-onnx-genai-int4-cpu{s}" for s in ("", "-asym-bs16", "-bs64-untied")),
    *(f"real/stories260K-hd16-onnx-genai-int4-cpu-{s}" for s in ("prune", "kquant", "qdq")),
    "real/stories260K-hd16-onnx-genai-int8-cpu",
    *(f"random/{family}/genai-int4" for family in ("llama", "mistral", "qwen2")),
]


def exact(folder: Path) -> onnx.ModelProto:
    """The model without rounding activations to 8 bits (accuracy_level 4)."""
    proto = onnx.load(folder / "model.onnx")
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = 1
    return proto


@pytest.mark.parametrize("folder", SOURCES)
def test_models_say_the_same_and_every_weight_keeps_its_codes(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = SHARED / folder
    if not path.exists():
        pytest.skip(f"{path} is not here")
    after = read(path)
    dict(onnx_passes.rewrite(after))
    assert not {n.op_type for n in after.graph} & {"MatMulNBits", "GatherBlockQuantized"}
    products = [m for m in find_matrices(after) if m.transposed]
    assert products and all(isinstance(m.tensor, CodedTensor) for m in products)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as copy:
        onnx.save(exact(path), Path(copy) / "model.onnx")
        original = Reference.original(load_source(Path(copy)))
        if "qdq" in folder:  # ONNX Runtime would fuse it to a MatMulNBits of accuracy 4
            options = ort.SessionOptions()
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            file = str(Path(copy) / "model.onnx")
            original.session = ort.InferenceSession(file, options, ["CPUExecutionProvider"])
        rewritten, ids = Reference.of(after), np.random.default_rng(0).integers(3, 500, 24).tolist()
        for piece in (ids[:20], ids[20:21], ids[21:]):
            theirs, ours = original.score(piece), rewritten.score(piece)
            ours = ours[-len(theirs) :]  # the pruned export has logits for the last token only
            assert np.mean((ours - theirs) ** 2) < 1e-9 * np.mean(theirs**2)


def test_nothing_is_read_before_rows_are_asked_for() -> None:
    path = SHARED / SOURCES[1]
    if not path.exists():
        pytest.skip(f"{path} is not here")
    model = read(path)
    mapped = [v.const_value for v in model.graph.initializers.values()]
    codes = [t for t in mapped if isinstance(t, ir.ExternalTensor) and "_Q4" in (t.name or "")]
    dict(onnx_passes.rewrite(model))
    assert len(codes) == 26 and all(t.raw is None for t in codes)
