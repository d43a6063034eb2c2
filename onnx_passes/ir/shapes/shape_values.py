"""Elements of small integer tensors, as far as they follow from sizes: what shapes are made of."""

import onnx_ir as ir

from onnx_passes.ir.dims import SMALL, Dim, as_expr, is_anonymous
from onnx_passes.ir.graph import attribute
from onnx_passes.ir.shapes.rule_context import Context, Rule, elements


def _filled(context: Context, node: ir.Node) -> None:
    """ConstantOfShape of known sizes; of one, its elements: exporters build Expand targets so."""
    sizes = elements(context, node, 0)
    if sizes is not None:
        context.set_shape_and_dtype(node.outputs[0], ir.Shape(sizes), None)
    tensor = attribute(node, "value")
    fill = 0 if tensor is None else tensor.numpy().reshape(-1)[0]
    if sizes is not None and len(sizes) == 1 and isinstance(sizes[0], int) and sizes[0] < SMALL:
        context.set_symbolic_value(node.outputs[0], [int(fill)] * sizes[0])


def _product(context: Context, node: ir.Node) -> None:
    a, b = elements(context, node, 0), elements(context, node, 1)
    if a and b and (len(a) == len(b) or 1 in (len(a), len(b))):
        count = max(len(a), len(b))
        pairs = zip(a * (count // len(a)), b * (count // len(b)), strict=True)
        context.set_symbolic_value(node.outputs[0], [x * y for x, y in pairs])


def _equal(context: Context, node: ir.Node) -> None:
    """Equal of sizes: one that is at least 0 is never the -1 that marks an inferred one."""
    a, b = elements(context, node, 0), elements(context, node, 1)
    if a is None or b is None or len(a) != len(b):
        return
    answers = [_same(x, y) for x, y in zip(a, b, strict=True)]
    if None not in answers:
        context.set_symbolic_value(node.outputs[0], [int(bool(x)) for x in answers])


def _same(a: Dim, b: Dim) -> bool | None:
    if is_anonymous(a) or is_anonymous(b):  # an unknown size may be any number
        return None
    difference = (as_expr(a) - as_expr(b)).expand()
    if difference == 0:
        return True
    return False if difference.is_positive or difference.is_negative else None


def _where(context: Context, node: ir.Node) -> None:
    condition, a, b = (elements(context, node, i) for i in range(3))
    if condition is None or a is None or b is None or not len(condition) == len(a) == len(b):
        return
    if all(isinstance(c, int) for c in condition):
        chosen = [x if c else y for c, x, y in zip(condition, a, b, strict=True)]
        context.set_symbolic_value(node.outputs[0], chosen)


VALUES: dict[str, Rule] = {
    "ConstantOfShape": _filled,
    "Mul": _product,
    "Equal": _equal,
    "Where": _where,
}
