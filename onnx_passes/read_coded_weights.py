"""Weights that the exporter quantised become initializers that know their codes, exactly.

MatMulNBits, GatherBlockQuantized (ONNX Runtime's contrib ops) and DequantizeLinear (ONNX) turn into
MatMul, Gather and a constant: every later pass, and ONNX Runtime, sees a float model. Called by
`normalize`; nothing is read before somebody asks for rows.
"""

import onnx_ir as ir

from onnx_passes.dequantize import read_dequantized
from onnx_passes.ir.edit import Builder, add_tensor, replace, unique_name
from onnx_passes.ir.graph import GraphError, attribute, needed, operand
from onnx_passes.weights.quantized import CodedTensor, CodedWeight
from onnx_passes.weights.stored import (
    AGAIN,
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
from opencl_kernels.formats import GROUPS

NIBBLES = (ir.DataType.INT4, ir.DataType.UINT4)
# What else computes with codes: it has other weights, or activations in 8 bits.
REFUSED = (
    *("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"),
    *("ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeMatMul", "MatMulBnb4"),
    *("MatMulIntegerToFloat", "MatMulFpQ4", "QMoE", "QAttention", "QGemm"),
)
Tied = dict[tuple[object, ...], CodedWeight]


def read_coded_weights(model: ir.Model) -> int:
    """Replace every node that stores a weight in codes; return how many.

    Raises GraphError where codes are damaged or of a kind that is not read.
    """
    tied: Tied = {}
    count = 0
    for node in list(model.graph):
        if node.op_type == "MatMulNBits" and node.domain == "com.microsoft":
            _matmul(node, tied)
        elif node.op_type == "GatherBlockQuantized" and node.domain == "com.microsoft":
            _gather(node, tied)
        elif node.op_type != "DequantizeLinear" or not read_dequantized(node):
            continue
        count += 1
    _refuse_others(model.graph)
    return count


def _refuse_others(graph: ir.Graph) -> None:
    node = next((node for node in graph if node.op_type in REFUSED), None)
    if node is not None:
        raise GraphError(
            f"the model is quantised in a way that is not read: {node.op_type} at {node.name}",
            "weights in 4 or 8 bits are read (MatMulNBits, GatherBlockQuantized, DequantizeLinear "
            "of constants), quantised activations and other formats are not",
            "export it with weight-only quantisation, or in float32 or float16",
        )


def _matmul(node: ir.Node, tied: Tied) -> None:
    """MatMulNBits: x [.., K], B [N, blocks, bytes], scales, zero points, g_idx, bias [N]."""
    N, K, bias = whole(node, "N", 0), whole(node, "K", 0), operand(node, 5)
    if operand(node, 4) is not None:
        raise fault(node, "it reorders its groups (g_idx)", "quantise without act-order (desc_act)")
    if attribute(node, "weight_prepacked", 0):
        raise fault(node, "its codes are packed for CUDA", "export it for the CPU")
    known = stored(bias)
    if known is not None and (known[0].dtype not in FLOATS or known[1] != (N,)):
        raise fault(node, f"its bias is {_text(known)}; floats [{N}] are right")
    weight, dtype = _blocks(node, (N, K), (1, 2, 3), tied)
    b = Builder(node)
    tensor = CodedTensor(weight, dtype, True, _name(b.graph, node))
    y = b.op("MatMul", needed(node, 0), add_tensor(b.graph, tensor))
    _stand_in(node, y if bias is None else b.op("Add", y, bias))


def _gather(node: ir.Node, tied: Tied) -> None:
    """GatherBlockQuantized: table [V, D] in codes, indices, scales, zero points."""
    found = stored(operand(node, 0))
    axes = whole(node, "gather_axis", 0), whole(node, "quantize_axis", 1)
    if found is None or len(found[1]) != 2:
        raise fault(node, "its table is not a constant matrix")
    if axes[0] != 0 or axes[1] not in (1, -1):
        raise fault(node, f"gather_axis {axes[0]} and quantize_axis {axes[1]}; 0 and 1 are read")
    (height, width), bits = found[1], _bits(node)
    packed = found[0].dtype not in NIBBLES and bits == 4
    weight, dtype = _blocks(node, (height, width * 2 if packed else width), (0, 2, 3), tied)
    b = Builder(node)
    table = add_tensor(b.graph, CodedTensor(weight, dtype, False, _name(b.graph, node)))
    _stand_in(node, b.op("Gather", table, needed(node, 1), axis=0))


def _stand_in(node: ir.Node, value: ir.Value) -> None:
    """`value`, made by a node of the same name, for what the node makes."""
    made = value.producer()
    if made is not None:
        made.name = node.name or made.name
    replace(node, value)


def _name(graph: ir.Graph, node: ir.Node) -> str:
    return unique_name(graph, f"{node.name or node.outputs[0].name}.weight")


def _bits(node: ir.Node) -> int:
    bits = whole(node, "bits", 4)
    if bits not in (4, 8):
        raise fault(node, f"its codes have {bits} bits; 4 and 8 are read", f"{AGAIN} in 4 or 8")
    return bits


def _blocks(
    node: ir.Node, sizes: tuple[int, int], places: tuple[int, int, int], tied: Tied
) -> tuple[CodedWeight, ir.DataType]:
    """The weight [N, K] of a node of ONNX Runtime's, and the type of its scales.

    `places` are the inputs with codes, scales and zero points. Nodes that share them (embedding and
    head) share the weight.
    """
    data, scales, zeros = (stored(operand(node, place)) for place in places)
    (N, K), bits, block = sizes, _bits(node), whole(node, "block_size", 128)
    if data is None or scales is None:
        raise fault(node, f"its {'codes' if data is None else 'scales'} are not constants")
    if block not in GROUPS or N < 1 or K < 1:
        raise fault(node, f"N {N}, K {K}, blocks of {block}; blocks of {GROUPS} are read")
    blocks = -(-K // block)
    exact = data[0].dtype in NIBBLES or places[0] == 0  # a table's rows are not padded
    matrix = CodeMatrix(data[0], N, K if exact else blocks * block, bits)
    known = (ir.DataType.UINT8, *(NIBBLES if bits == 4 else (ir.DataType.INT8,)))
    if data[0].dtype not in known or data[0].nbytes != matrix.bytes:
        raise fault(node, f"its codes are {_text(data)}; {matrix.bytes} bytes are right")
    if scales[0].dtype not in FLOATS or scales[0].size != N * blocks:
        raise fault(node, f"its scales are {_text(scales)}; floats [{N}, {blocks}] are right")
    if zeros is None and operand(node, places[2]) is not None:
        raise fault(node, "its zero points are not constants")
    zero, zero_type = _zeros(node, zeros, matrix, blocks)
    scale = float_rows(scales[0], N, blocks, 0)
    stated = (node, matrix, 0, N, K, block, scale, float_type(scales[0]), zero, zero_type)
    key = (N, K, bits, block, *(id(found[0]) for found in (data, scales, zeros) if found))
    if key not in tied:
        tied[key] = Codes(*stated).weight()
    return tied[key], scales[0].dtype


def _zeros(
    node: ir.Node,
    zeros: tuple[ir.TensorProtocol, tuple[int, ...]] | None,
    matrix: CodeMatrix,
    blocks: int,
) -> tuple[Rows | None, str]:
    """Zero points by rows and their type: packed as the codes are, or as floats."""
    if zeros is None:  # uint4 counts from 0, uint8 and signed codes from their middle
        unsigned = matrix.tensor.dtype == ir.DataType.UINT4
        return (filled_blocks(blocks) if unsigned else None), "u8"
    tensor = zeros[0]
    if tensor.dtype in FLOATS and tensor.size == matrix.height * blocks:
        return float_rows(tensor, matrix.height, blocks, 0), float_type(tensor)
    nibbles = tensor.dtype in NIBBLES
    width = blocks if nibbles or matrix.bits == 8 else 2 * -(-blocks // 2)
    packed = CodeMatrix(tensor, matrix.height, width, matrix.bits)
    alike = (tensor.dtype in SIGNED) == (matrix.tensor.dtype in SIGNED)
    if not alike or tensor.dtype.bitwidth > 8 or tensor.nbytes != packed.bytes:
        raise fault(node, f"its zero points are {_text(zeros)}; {packed.bytes} bytes are right")
    return code_rows(packed, 0, blocks), "u8"


def filled_blocks(blocks: int) -> Rows:
    """Zero points of 0 for every block."""
    return lambda first, stop: filled(0)(first, stop).repeat(blocks, axis=1)


def _text(found: tuple[ir.TensorProtocol, tuple[int, ...]]) -> str:
    return f"{found[0].dtype.name.lower()} {list(found[1])}"
