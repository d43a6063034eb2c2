"""Small quantised models, and what ONNX Runtime answers."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from onnx_passes import Pass
from onnx_passes.ir.edit import drop_unused
from onnx_passes.weights.quantized import QuantizedTensor, quantized
from opencl_kernels.formats import Quantized

F32, F16 = TensorProto.FLOAT, TensorProto.FLOAT16
NP = {F32: np.float32, F16: np.float16}
INTS = {
    TensorProto.INT4: ml_dtypes.int4,
    TensorProto.UINT4: ml_dtypes.uint4,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
}


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes along the last axis in bytes, the first in the lowest bits; the last may be alone."""
    each = 8 // bits
    odd = -codes.shape[-1] % each
    even = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, odd)]).astype(np.uint8)
    parts = [even[..., i::each] << np.uint8(i * bits) for i in range(each)]
    return np.asarray(np.bitwise_or.reduce(parts))


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


def reads(
    run_pass: Pass, proto: onnx.ModelProto, x: np.ndarray, tolerance: float = 2e-6
) -> ir.Model:
    """The model after a pass that reads its one weight; it answers as before."""
    after = ir.from_proto(proto)
    assert run_pass(after).rewrites == 1
    drop_unused(after)
    ours, theirs = answer(ir.to_proto(after), x), answer(proto, x)
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    scale = np.abs(theirs.astype(np.float32)).max() + 1e-30
    np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=tolerance)
    return after


def weight_of(after: ir.Model) -> QuantizedTensor:
    (found,) = [v.const_value for v in after.graph.initializers.values() if quantized(v)]
    assert isinstance(found, QuantizedTensor)
    return found


def nbits(
    N: int, K: int, bits: int, block: int, dtype: int = F32, zero: str = "", seed: int = 0
) -> tuple[dict[str, Any], dict[str, np.ndarray | None], Quantized]:
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
    middle = np.full_like(zeros, 2) if bits == 2 else None  # kept in 4 bits, whose middle is 8
    kept = {"": middle, "packed": zeros, "float": given["float"]}[zero]
    attributes = {"N": N, "K": K, "bits": bits, "block_size": block}
    return attributes, inputs, Quantized(codes[:, :K], scale, kept, max(bits, 4), block)


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
