"""Shape arithmetic disappears: known integers become constants, every reshape a fixed target.

Reshape, Expand and Slice get constant operands (0 keeps a dimension, -1 is the symbolic one); where
shape in equals shape out they vanish. What then still computes integers belongs to a mask or to
positions, and goes with them.
"""

import math
from functools import partial

import numpy as np
import onnx_ir as ir
import sympy
from onnx_ir.passes.common import CommonSubexpressionEliminationPass

from onnx_passes.ir.dims import Dim, as_expr, symbolic_value
from onnx_passes.ir.edit import Builder, drop_unused, replace
from onnx_passes.ir.graph import attribute, is_constant, operand, producer
from onnx_passes.ir.infer import infer
from onnx_passes.ir.rules import Done, Outcome, Rules, attempt

Known = tuple[ir.DataType, tuple[int, ...], tuple[sympy.Expr, ...]]


def resolve_shapes(model: ir.Model) -> Outcome:
    """Replace known shape values and symbolic targets."""
    known: dict[Known, ir.Value] = {}
    outcome = attempt((node, partial(_resolve, model, node, known)) for node in list(model.graph))
    CommonSubexpressionEliminationPass()(model)  # masks of equal sizes become one
    drop_unused(model)
    infer(model)
    return outcome


def _resolve(model: ir.Model, node: ir.Node, known: dict[Known, ir.Value]) -> Done:
    if node.domain == "" and _is_known(node, known):
        return True
    rule = RULES.get((node.domain, node.op_type))
    return rule is not None and rule(model, node)


def _is_known(node: ir.Node, known: dict[Known, ir.Value]) -> bool:
    """Integers become a constant, or the first value of the graph that is the same expressions."""
    output, sizes = node.outputs[0], _sizes(node.outputs[0])
    if len(node.outputs) != 1 or output.is_graph_output() or not output.uses():
        return False
    dtype, values = output.dtype, symbolic_value(output)
    if dtype is None or not (dtype.is_integer() or dtype == ir.DataType.BOOL):
        return False
    if sizes is None or values is None or math.prod(sizes) != len(values):
        return False
    if all(v.is_Integer for v in values):
        array = np.array([int(v) for v in values], dtype.numpy()).reshape(sizes)
        replace(node, Builder(node).constant(array, f"{output.name}/value"))
        return True
    first = known.setdefault((dtype, tuple(sizes), tuple(values)), output)
    if first is not output:
        replace(node, first)
    return first is not output


def _sizes(value: ir.Value) -> list[int] | None:
    """The shape, where all of it is known."""
    dims = _dims(value) or []
    sizes = [d for d in dims if isinstance(d, int)]
    return sizes if value.shape is not None and len(sizes) == len(dims) else None


def _same_shape(node: ir.Node) -> bool:
    """The node's output has its input's shape: for these ops, its values too."""
    source, output = operand(node, 0), node.outputs[0]
    if source is None or source.shape is None or source.shape != output.shape:
        return False
    if output.is_graph_output() or not _has_shape(source):
        return False
    replace(node, source)
    return True


def _has_shape(value: ir.Value) -> bool:
    return all(isinstance(d, int) or d.value is not None for d in _dims(value) or ())


def _slice(_: ir.Model, node: ir.Node) -> bool:
    steps = operand(node, 4)
    forward = steps is None or (
        is_constant(steps) and all(v == 1 for v in symbolic_value(steps) or [0])
    )
    return forward and _same_shape(node)


def _fix_reshape(node: ir.Node) -> bool:
    if _same_shape(node):
        return True
    source, target = _dims(operand(node, 0)), _dims(node.outputs[0])
    fixed_already = is_constant(operand(node, 1)) and not attribute(node, "allowzero")
    if source is None or target is None or fixed_already or 0 in target:
        return False
    fixed = [d if isinstance(d, int) else -1 for d in target]
    if fixed.count(-1) > 1:  # keep the symbols that stay in place, infer the other
        kept = [a == b for a, b in zip(target, source, strict=False)]
        fixed = [0 if d == -1 and kept[i : i + 1] == [True] else d for i, d in enumerate(fixed)]
    return fixed.count(-1) <= 1 and _set_operand(node, fixed)


def _fix_expand(_: ir.Model, node: ir.Node) -> bool:
    if _same_shape(node):
        return True
    source, target = _dims(operand(node, 0)), _dims(node.outputs[0])
    if source is None or target is None or is_constant(operand(node, 1)):
        return False
    padded: list[Dim] = [*([1] * (len(target) - len(source))), *source]
    fixed = [d if isinstance(d, int) else 1 for d in target]
    kept = all(isinstance(d, int) or d == s for d, s in zip(target, padded, strict=True))
    return kept and _set_operand(node, fixed)


def _set_operand(node: ir.Node, target: list[int]) -> bool:
    node.replace_input_with(1, Builder(node).target(*target))
    node.attributes.pop("allowzero", None)
    return True


def _concat(_: ir.Model, node: ir.Node) -> bool:
    return len(node.inputs) == 1 and _same_shape(node)


def _merge_transpose(node: ir.Node) -> bool:
    """Reshape(Transpose(Reshape(x))) becomes a Transpose of x.

    Exporters merge the leading dimensions, swap the last two, and split the leading ones again.
    """
    swap = producer(operand(node, 0), "Transpose")
    merge = None if swap is None else producer(operand(swap, 0), "Reshape")
    x = None if merge is None else operand(merge, 0)
    source, target = _dims(x), _dims(node.outputs[0])
    if swap is None or merge is None or source is None or target is None:
        return False
    merged = _dims(merge.outputs[0]) or []
    if attribute(swap, "perm") != [0, 2, 1] or (len(source), len(target)) != (4, 4):
        return False
    if not _equal(merged[1:], source[2:]) or not _equal(target, [source[i] for i in (0, 1, 3, 2)]):
        return False
    replace(node, Builder(node).op("Transpose", x, perm=[0, 1, 3, 2]))
    return True


def _equal(a: list[Dim], b: list[Dim]) -> bool:
    known = all(isinstance(d, int) or d.value is not None for d in (*a, *b))
    return known and [as_expr(d) for d in a] == [as_expr(d) for d in b]


def _reshape(_: ir.Model, node: ir.Node) -> bool:
    return _merge_transpose(node) or _fix_reshape(node)


def _dims(value: ir.Value | None) -> list[Dim] | None:
    return None if value is None or value.shape is None else list(value.shape)


RULES: Rules = {
    ("", "Reshape"): _reshape,
    ("", "Expand"): _fix_expand,
    ("", "Slice"): _slice,
    ("", "Concat"): _concat,
}
