"""Weights that the exporter quantised become initializers that know their codes, exactly.

MatMulNBits, MatMulBnb4 and GatherBlockQuantized (ONNX Runtime's contrib ops) turn into MatMul and
Gather: every later pass, and ONNX Runtime, sees a float model. Nothing is read before rows are
asked for.
"""

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, add_tensor, replace, unique_name
from onnx_passes.ir.graph import GraphError, attribute, needed, operand
from onnx_passes.ir.rules import Done, Loss, Outcome, Rules, apply
from onnx_passes.read_integer_products import ROUNDED
from onnx_passes.weights.block_codes import NARROW, BlockCodes, bits_of, shared
from onnx_passes.weights.code_matrix import FLOATS
from onnx_passes.weights.lazy import Transposed
from onnx_passes.weights.stored import fault, stored, whole
from onnx_passes.weights.table_codes import TABLES, TableCodes

INT8 = 4  # the accuracy_level at which ONNX Runtime rounds activations to 8 bits
# What else computes with codes: it has other weights, or activations in 8 bits.
REFUSED = (
    *("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"),
    *("ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeMatMul"),
    *("MatMulIntegerToFloat", "MatMulFpQ4", "QMoE", "QAttention", "QGemm"),
)


def read_quantized_weights(model: ir.Model) -> Outcome:
    """Replace every node that holds a quantised weight; `dequantize` reads those apart from nodes.

    Raises GraphError where codes are damaged or of a kind that is not read.
    """
    outcome = apply(model, RULES)
    _refuse_others(model.graph)
    return outcome


def _refuse_others(graph: ir.Graph) -> None:
    node = next((node for node in graph if node.op_type in REFUSED), None)
    if node is not None:
        raise GraphError(
            f"the model is quantised in a way that is not read: {node.op_type} at {node.name}",
            "weights in 2, 4 or 8 bits are read (MatMulNBits, MatMulBnb4, GatherBlockQuantized, "
            "DequantizeLinear of constants, products of dynamic quantisation), activations that "
            "are quantised by constants and other formats are not",
            "export it with weight-only quantisation, or in float32 or float16",
        )


def _matmul(model: ir.Model, node: ir.Node) -> Done:
    """MatMulNBits: x [.., K], B [N, blocks, bytes], scales, zero points, g_idx, bias [N]."""
    N, K, bias = whole(node, "N", 0), whole(node, "K", 0), operand(node, 5)
    if operand(node, 4) is not None:
        raise fault(node, "it reorders its groups (g_idx)", "quantise without act-order (desc_act)")
    if attribute(node, "weight_prepacked", 0):
        raise fault(node, "its codes are packed for CUDA", "export it for the CPU")
    known = stored(bias)
    if known is not None and (known.dtype not in FLOATS or known.shape != (N,)):
        raise fault(node, f"its bias is {known}; floats [{N}] are right")
    block = whole(node, "block_size", 128)
    codes, b = BlockCodes.of(node, (N, K), (1, 2, 3), bits_of(node), block), Builder(node)
    weight = add_tensor(b.graph, shared(model, codes, transposed=True))
    y = b.op("MatMul", needed(node, 0), weight)
    _stand_in(node, y if bias is None else b.op("Add", y, bias))
    return ROUNDED if whole(node, "accuracy_level", 0) == INT8 else True


def _table_matmul(_: ir.Model, node: ir.Node) -> Done:
    """MatMulBnb4: x [.., K], B in codes of a table, the largest magnitudes of its blocks."""
    N, K, block, kind = (whole(node, n, 0) for n in ("N", "K", "block_size", "quant_type"))
    codes, scales = (stored(operand(node, place)) for place in (1, 2))
    if codes is None or scales is None:
        raise fault(node, f"its {'codes' if codes is None else 'scales'} are not constants")
    if not attribute(node, "transB", 1) or kind not in range(len(TABLES)) or min(N, K, block) < 1:
        because = f"N {N}, K {K}, blocks of {block}, quant_type {kind}, or its weight is turned"
        raise fault(node, f"{because}; FP4 (0) and NF4 (1) are read")
    right = -(-N * K // 2), -(-N * K // block)
    if (codes.tensor.size, scales.tensor.size) != right or scales.dtype not in FLOATS:
        because = f"its codes are {codes} and its scales {scales}; {right} of them are right"
        raise fault(node, because)
    b = Builder(node)
    name = f"{node.name or b.prefix}.weight"
    floats = TableCodes(codes.tensor, scales.tensor, (N, K), block, TABLES[kind], name)
    weight = add_tensor(b.graph, Transposed(floats, unique_name(b.graph, name)))
    _stand_in(node, b.op("MatMul", needed(node, 0), weight))
    return Loss("its codes are not kept: they index a table, which no kernel reads")


def _gather(model: ir.Model, node: ir.Node) -> bool:
    """GatherBlockQuantized: table [V, D] in codes, indices, scales, zero points."""
    found = stored(operand(node, 0))
    axes = whole(node, "gather_axis", 0), whole(node, "quantize_axis", 1)
    if found is None or len(found.shape) != 2:
        raise fault(node, "its table is not a constant matrix")
    if axes[0] != 0 or axes[1] not in (1, -1):
        raise fault(node, f"gather_axis {axes[0]} and quantize_axis {axes[1]}; 0 and 1 are read")
    height, width = found.shape
    bits = bits_of(node)
    each = 1 if found.dtype in NARROW[bits] else 8 // bits  # codes of an element
    sizes, block = (height, width * each), whole(node, "block_size", 128)
    codes = BlockCodes.of(node, sizes, (0, 2, 3), bits, block)
    b = Builder(node)
    table = add_tensor(b.graph, shared(model, codes, transposed=False))
    _stand_in(node, b.op("Gather", table, needed(node, 1), axis=0))
    return True


def _stand_in(node: ir.Node, value: ir.Value) -> None:
    """`value`, made by a node of the same name, for what the node makes."""
    made = value.producer()
    if made is not None:
        made.name = node.name or made.name
    replace(node, value)


RULES: Rules = {
    ("com.microsoft", "MatMulNBits"): _matmul,
    ("com.microsoft", "MatMulBnb4"): _table_matmul,
    ("com.microsoft", "GatherBlockQuantized"): _gather,
}
