"""Weights that the exporter quantised become initializers that know their codes, exactly.

MatMulNBits and GatherBlockQuantized (ONNX Runtime's contrib ops) turn into MatMul and Gather: every
later pass, and ONNX Runtime, sees a float model. Nothing is read before rows are asked for.
"""

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, add_tensor, replace, unique_name
from onnx_passes.ir.graph import GraphError, attribute, needed, operand
from onnx_passes.ir.rules import Outcome, Rules, apply
from onnx_passes.weights.block_codes import NIBBLES, BlockCodes, bits_of
from onnx_passes.weights.code_matrix import FLOATS
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight
from onnx_passes.weights.stored import fault, stored, whole

# What else computes with codes: it has other weights, or activations in 8 bits.
REFUSED = (
    *("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"),
    *("ConvInteger", "QLinearMatMul", "QLinearConv", "DynamicQuantizeMatMul", "MatMulBnb4"),
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
            "weights in 4 or 8 bits are read (MatMulNBits, GatherBlockQuantized, DequantizeLinear "
            "of constants), quantised activations and other formats are not",
            "export it with weight-only quantisation, or in float32 or float16",
        )


def _matmul(model: ir.Model, node: ir.Node) -> bool:
    """MatMulNBits: x [.., K], B [N, blocks, bytes], scales, zero points, g_idx, bias [N]."""
    N, K, bias = whole(node, "N", 0), whole(node, "K", 0), operand(node, 5)
    if operand(node, 4) is not None:
        raise fault(node, "it reorders its groups (g_idx)", "quantise without act-order (desc_act)")
    if attribute(node, "weight_prepacked", 0):
        raise fault(node, "its codes are packed for CUDA", "export it for the CPU")
    known = stored(bias)
    if known is not None and (known.dtype not in FLOATS or known.shape != (N,)):
        raise fault(node, f"its bias is {known}; floats [{N}] are right")
    codes, b = BlockCodes.of(node, (N, K), (1, 2, 3)), Builder(node)
    weight = add_tensor(b.graph, _tensor(model, codes, transposed=True))
    y = b.op("MatMul", needed(node, 0), weight)
    _stand_in(node, y if bias is None else b.op("Add", y, bias))
    return True


def _gather(model: ir.Model, node: ir.Node) -> bool:
    """GatherBlockQuantized: table [V, D] in codes, indices, scales, zero points."""
    found = stored(operand(node, 0))
    axes = whole(node, "gather_axis", 0), whole(node, "quantize_axis", 1)
    if found is None or len(found.shape) != 2:
        raise fault(node, "its table is not a constant matrix")
    if axes[0] != 0 or axes[1] not in (1, -1):
        raise fault(node, f"gather_axis {axes[0]} and quantize_axis {axes[1]}; 0 and 1 are read")
    height, width = found.shape
    packed = found.dtype not in NIBBLES and bits_of(node) == 4
    codes = BlockCodes.of(node, (height, width * 2 if packed else width), (0, 2, 3))
    b = Builder(node)
    table = add_tensor(b.graph, _tensor(model, codes, transposed=False))
    _stand_in(node, b.op("Gather", table, needed(node, 1), axis=0))
    return True


def _tensor(model: ir.Model, codes: BlockCodes, transposed: bool) -> QuantizedTensor:
    """The weight as a tensor of its own; nodes that share codes share the weight."""
    known: dict[tuple[object, ...], QuantizedWeight]
    known = model.graph.meta.setdefault("pocket_weights", {})
    weight = known.get(codes.key) or known.setdefault(codes.key, codes.weight())
    name = unique_name(model.graph, f"{codes.node.name or codes.node.outputs[0].name}.weight")
    return QuantizedTensor(weight, codes.scales.dtype, transposed, name)


def _stand_in(node: ir.Node, value: ir.Value) -> None:
    """`value`, made by a node of the same name, for what the node makes."""
    made = value.producer()
    if made is not None:
        made.name = node.name or made.name
    replace(node, value)


RULES: Rules = {
    ("com.microsoft", "MatMulNBits"): _matmul,
    ("com.microsoft", "GatherBlockQuantized"): _gather,
}
