"""Shape arithmetic disappears: every integer that `infer` knows becomes a constant, every reshape a fixed target.

Reshape, Expand and Slice get constant operands (0 keeps a dimension, -1 is the symbolic one); where shape in equals
shape out they vanish. What then still computes integers belongs to a mask or to positions, and goes with them.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.graph import Builder, attribute, drop_unused, is_constant, replace
from onnx_passes.shapes import as_expr, infer, symbolic_value

Dims = list[int | ir.SymbolicDim]


def resolve_shapes(model: ir.Model) -> int:
    """Replace known shape values and symbolic targets; return how many nodes changed."""
    count = 0
    for node in list(model.graph):
        rewrite = _RULES.get(node.op_type)
        if node.domain == "" and (_becomes_constant(node) or (rewrite is not None and rewrite(node))):
            count += 1
    drop_unused(model)
    infer(model)
    return count


def _becomes_constant(node: ir.Node) -> bool:
    output = node.outputs[0]
    if len(node.outputs) != 1 or output.is_graph_output() or output.dtype is None or not output.uses():
        return False
    values = symbolic_value(output) if output.dtype.is_integer() or output.dtype == ir.DataType.BOOL else None
    dims = None if output.shape is None else list(output.shape)
    if values is None or dims is None or not all(v.is_Integer for v in values):
        return False
    if not all(isinstance(d, int) for d in dims) or int(np.prod(dims)) != len(values):
        return False
    array = np.array([int(v) for v in values], output.dtype.numpy()).reshape(dims)
    replace(node, Builder(node).constant(array, f"{output.name}/value"))
    return True


def _same_shape(node: ir.Node) -> bool:
    """The node's output has its input's shape: for these ops, its values too."""
    source, output = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or source.shape != output.shape or output.is_graph_output():
        return False
    replace(node, source)
    return True


def _fix_reshape(node: ir.Node) -> bool:
    if _same_shape(node):
        return True
    source, target = _dims(node.inputs[0]), _dims(node.outputs[0])
    if source is None or target is None or (is_constant(node.inputs[1]) and not attribute(node, "allowzero")):
        return False
    fixed = [d if isinstance(d, int) else -1 for d in target]
    if fixed.count(-1) > 1:  # keep the symbols that stay in place, infer the other
        fixed = [0 if d == -1 and i < len(source) and source[i] == target[i] else d for i, d in enumerate(fixed)]
    return fixed.count(-1) <= 1 and _set_operand(node, fixed)


def _fix_expand(node: ir.Node) -> bool:
    if _same_shape(node):
        return True
    source, target = _dims(node.inputs[0]), _dims(node.outputs[0])
    if source is None or target is None or is_constant(node.inputs[1]):
        return False
    padded: Dims = [1] * (len(target) - len(source)) + source
    fixed = [d if isinstance(d, int) else 1 if d == s else None for d, s in zip(target, padded, strict=True)]
    return None not in fixed and _set_operand(node, fixed)  # type: ignore[arg-type]


def _set_operand(node: ir.Node, target: list[int]) -> bool:
    node.replace_input_with(1, Builder(node).constant(np.array(target, np.int64), f"{node.outputs[0].name}/shape"))
    node.attributes.pop("allowzero", None)
    return True


def _single(node: ir.Node) -> bool:
    return len(node.inputs) == 1 and _same_shape(node)


def _merge_transpose(node: ir.Node) -> bool:
    """Reshape(Transpose(Reshape(x))) that only merges leading dims, swaps the last two, and splits again."""
    turn = node.inputs[0].producer() if node.inputs[0] is not None else None
    if turn is None or turn.op_type != "Transpose" or attribute(turn, "perm") != [0, 2, 1]:
        return False
    merge = turn.inputs[0].producer() if turn.inputs[0] is not None else None
    if merge is None or merge.op_type != "Reshape" or merge.inputs[0] is None:
        return False
    source, target = _dims(merge.inputs[0]), _dims(node.outputs[0])
    if source is None or target is None or len(source) != 4 or len(target) != 4:
        return False
    if [as_expr(d) for d in target] != [as_expr(source[i]) for i in (0, 1, 3, 2)]:
        return False
    replace(node, Builder(node).op("Transpose", merge.inputs[0], perm=[0, 1, 3, 2]))
    return True


def _reshape(node: ir.Node) -> bool:
    return _merge_transpose(node) or _fix_reshape(node)


def _dims(value: ir.Value | None) -> Dims | None:
    return None if value is None or value.shape is None else list(value.shape)


_RULES = {"Reshape": _reshape, "Expand": _fix_expand, "Slice": _same_shape, "Concat": _single}
