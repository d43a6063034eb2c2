"""DequantizeLinear of a constant  ->  a constant: coded where its groups run along K, else floats.

ONNX operators, DequantizeLinear-10 to -25: y = (x - zero) * scale, with one scale for the tensor,
for each index along an axis, or for each block along it.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import add_tensor, replace, unique_name
from onnx_passes.ir.graph import Miss, attribute, explain, operand
from onnx_passes.weights.quantized import CodedTensor
from onnx_passes.weights.stored import (
    CODES,
    FLOATS,
    SIGNED,
    CodeMatrix,
    Codes,
    Rows,
    code_rows,
    fault,
    filled,
    float_rows,
    float_type,
    stored,
    whole,
)
from opencl_kernels.formats import GROUPS, Array

Constant = tuple[ir.TensorProtocol, tuple[int, ...]]


def read_dequantized(node: ir.Node) -> bool:
    """Replace a DequantizeLinear by what it computes; False where its inputs are not constants."""
    x, scale, zero = (stored(operand(node, i)) for i in range(3))
    if x is None or scale is None or (zero is None and operand(node, 2) is not None):
        return False
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    axis, block = _check(node, x, scale, zero)
    dtype = _result_type(node, scale[0])
    name = unique_name(graph, f"{node.outputs[0].name}/value")
    tensor: ir.LazyTensor
    try:
        codes, transposed = _codes(node, x, scale, zero, axis, block)
        tensor = CodedTensor(codes.weight(), dtype, transposed, name)
    except Miss as miss:
        explain(node, f"its codes are not kept: {miss}")
        tensor = _floats((x, scale, zero), axis, block, dtype, name)
    replace(node, add_tensor(graph, tensor))
    return True


def _result_type(node: ir.Node, scale: ir.TensorProtocol) -> ir.DataType:
    stated = whole(node, "output_dtype", 0)
    if stated and stated not in [dtype.value for dtype in FLOATS]:
        raise fault(node, f"its output_dtype is {stated}; float, float16 and bfloat16 are read")
    return ir.DataType(stated) if stated else scale.dtype


def _check(
    node: ir.Node, x: Constant, scale: Constant, zero: Constant | None
) -> tuple[int, int | None]:
    """(axis, block) of a node whose inputs fit together; block None where a scale has no block."""
    shape, rank = x[1], len(x[1])
    if scale[0].dtype not in FLOATS or x[0].dtype not in (*CODES, ir.DataType.INT32):
        types = f"{x[0].dtype.name.lower()} with scales in {scale[0].dtype.name.lower()}"
        raise fault(node, f"its codes are {types}; integers of 4 or 8 bits and floats are right")
    axis, block = attribute(node, "axis", 1), attribute(node, "block_size", 0)
    stated, axis = axis, axis + rank if axis < 0 else axis
    if _is_one(scale) and not block:
        wanted: list[int] = list(scale[1])
    elif not 0 <= axis < rank:
        raise fault(node, f"its axis is {stated}, and it has {rank}")
    elif block:
        wanted = [-(-d // block) if i == axis else d for i, d in enumerate(shape)]
    else:
        wanted = [shape[axis]]
    for kind, found in (("scales", scale), ("zero points", zero)):
        fits = found is None or list(found[1]) == wanted or (wanted in ([], [1]) and _is_one(found))
        if found is not None and not fits:
            what = f"its {kind} are {list(found[1])} for codes {list(shape)}"
            raise fault(node, f"{what}; {wanted} are right")
    if zero is not None and zero[0].dtype != x[0].dtype:
        types = f"{zero[0].dtype.name.lower()} for {x[0].dtype.name.lower()}"
        raise fault(node, f"its zero points are of another type than its codes: {types}")
    return axis, block or None


def _is_one(constant: Constant) -> bool:
    return constant[0].size == 1


def _codes(
    node: ir.Node,
    x: Constant,
    scale: Constant,
    zero: Constant | None,
    axis: int,
    block: int | None,
) -> tuple[Codes, bool]:
    """The codes as a weight, and whether it lies transposed; a Miss says why it is none."""
    tensor, shape = x
    if len(shape) != 2 or tensor.dtype not in CODES:
        raise Miss(f"{tensor.dtype.name.lower()} {list(shape)} is no matrix of 4 or 8 bits")
    along = _depth_axis(node.outputs[0])
    if along is None:
        raise Miss("it is neither the weight of a matmul nor an embedding")
    single = scale[0].size == 1 and block is None
    if not single and (block is None) == (axis == along):
        raise Miss("its scales differ along K without blocks, or its blocks run along N")
    if block is not None and all(block % group for group in GROUPS):
        raise Miss(f"blocks of {block} are no multiple of {GROUPS[0]}")
    K, N, bits = shape[along], shape[1 - along], tensor.dtype.bitwidth
    groups = 1 if block is None else -(-K // block)
    matrix = CodeMatrix(tensor, *shape, bits)
    scales = _grid(float_rows(scale[0], *_turned(N, groups, single, along), 1 - along), single)
    zeros = None if tensor.dtype in SIGNED else filled(0)
    if zeros is not None and groups > 1:
        zeros = _repeated(zeros, groups)
    if zero is not None:
        stored_zeros = CodeMatrix(zero[0], *_turned(N, groups, single, along), bits)
        zeros = _grid(code_rows(stored_zeros, 1 - along, groups), single)
    # `along` is where K runs: rows of W lie along the other axis
    codes = Codes(node, matrix, 1 - along, N, K, block, scales, float_type(scale[0]), zeros)
    return codes, along == 0


def _turned(N: int, groups: int, single: bool, along: int) -> tuple[int, int]:
    """The shape of scales as they lie."""
    rows = 1 if single else N
    return (rows, groups) if along == 1 else (groups, rows)


def _grid(rows: Rows, single: bool) -> Rows:
    """Rows of scales, where one may stand for all."""
    if not single:
        return rows
    return lambda first, stop: np.repeat(rows(0, 1), stop - first, axis=0)


def _repeated(rows: Rows, groups: int) -> Rows:
    return lambda first, stop: np.repeat(rows(first, stop), groups, axis=1)


def _depth_axis(value: ir.Value) -> int | None:
    """The axis of a matrix that its readers sum over: K; None where they disagree or do not."""
    found: set[int | None] = set()
    for node, index in value.uses():
        if node.op_type in ("Cast", "Identity"):
            found.add(_depth_axis(node.outputs[0]))
        elif node.op_type == "Transpose":
            inner = _depth_axis(node.outputs[0])
            found.add(None if inner is None else 1 - inner)
        elif node.op_type == "Gather" and index == 0 and attribute(node, "axis", 0) == 0:
            found.add(1)
        else:
            found.add(0 if node.op_type == "MatMul" and index == 1 else None)
    return found.pop() if len(found) == 1 else None


def _floats(
    inputs: tuple[Constant, Constant, Constant | None],
    axis: int,
    block: int | None,
    dtype: ir.DataType,
    name: str,
) -> ir.LazyTensor:
    (x, shape), scale, zero = inputs

    def wide(found: Constant) -> Array:
        array = found[0].numpy().reshape(found[1]).astype(np.float32)
        if block is not None:
            return np.repeat(array, block, axis)[tuple(slice(d) for d in shape)]
        return array.reshape([-1 if i == axis else 1 for i in range(len(shape))])

    def values() -> ir.TensorProtocol:
        codes = x.numpy().reshape(shape).astype(np.float32)
        offset = codes if zero is None else codes - wide(zero)
        return ir.tensor((offset * wide(scale)).astype(dtype.numpy()))

    return ir.LazyTensor(values, dtype=dtype, shape=ir.Shape(shape), name=name)
