"""Every spelling of RMSNorm  ->  pocket.RmsNorm, and com.microsoft's skip norm  ->  pocket.AddRmsNorm.

Spelled out: gamma * (x * (1 / sqrt(mean(x^2) + eps))), with Reciprocal or Div, in any order of factors (Zhang &
Sennrich 2019, eq. 4); or RMSNormalization (opset 23), SimplifiedLayerNormalization. Twice per layer, once at the end.
"""

import onnx_ir as ir

from onnx_passes.graph import DOMAIN, Builder, Miss, attribute, constant, explain, is_constant, needed, operand
from onnx_passes.graph import producer, replace, scalar, through


def fuse_rmsnorm(model: ir.Model) -> int:
    """Replace every RMSNorm; return how many."""
    count = 0
    for node in list(model.graph):
        rule = _RULES.get((node.domain, node.op_type))
        if rule is None or node.graph is None:
            continue
        try:
            rule(node)
            count += 1
        except Miss as miss:
            explain(node, miss)
        except _NotHere:
            pass
    return count


class _NotHere(Exception):
    """The node has nothing of a norm about it: no reason to report."""


def _spelled(node: ir.Node) -> None:
    """`node` is the last Mul: gamma times the normalised x."""
    gamma, normal = _factor(node, is_constant)
    x, root = _normalised(through(normal, "Cast"))
    shifted = producer(root.inputs[0], "Add")
    if shifted is None:
        raise Miss("no epsilon is added below the square root")
    eps, mean = _factor(shifted, is_constant)
    reduce = producer(mean, "ReduceMean")
    if reduce is None:
        raise _NotHere
    _check_mean(reduce, x)
    if constant(gamma) is None or gamma.shape is None or gamma.shape.rank() != 1:
        raise Miss("the scale is not a vector")
    source = through(x, "Cast") if _same_type(x, node.outputs[0]) is False else x
    if scalar(eps) is None:
        raise Miss("epsilon is not one constant")
    _emit(node, source, gamma, scalar(eps) or 0.0)


def _normalised(value: ir.Value | None) -> tuple[ir.Value, ir.Node]:
    """(x, the Sqrt node) of x * (1 / sqrt(.)) or x / sqrt(.)."""
    node = producer(value, "Mul", "Div")
    if node is None:
        raise _NotHere
    if node.op_type == "Div":
        root = producer(node.inputs[1], "Sqrt")
        if root is not None and node.inputs[0] is not None:
            return node.inputs[0], root
        raise _NotHere
    for x, unit in (node.inputs, node.inputs[::-1]):
        inverse = producer(unit, "Reciprocal", "Div")
        root = None if inverse is None else producer(inverse.inputs[-1], "Sqrt")
        if root is not None and x is not None:
            if inverse is not None and inverse.op_type == "Div" and scalar(inverse.inputs[0]) != 1:
                raise Miss("the numerator over the root is not the constant 1")
            return x, root
    raise _NotHere


def _check_mean(reduce: ir.Node, x: ir.Value) -> None:
    square = producer(reduce.inputs[0], "Pow", "Mul")
    if square is None or square.inputs[0] is not x:
        raise Miss("the mean is not of the square of the value that is scaled")
    if square.op_type == "Pow" and scalar(square.inputs[1]) != 2:
        raise Miss(f"the exponent is {scalar(square.inputs[1])}, not the constant 2")
    if square.op_type == "Mul" and square.inputs[1] is not x:
        raise Miss("the mean is of a product, not of a square")
    axes = attribute(reduce, "axes")
    axes = list(axes) if axes is not None else list(constant(operand(reduce, 1)) if operand(reduce, 1) else [])  # type: ignore[arg-type]
    rank = 0 if x.shape is None else x.shape.rank()
    if len(axes) != 1 or int(axes[0]) not in (-1, rank - 1):
        raise Miss(f"the mean is over the axes {axes}, not over the last one")


def _fused(node: ir.Node) -> None:
    rank = 0 if needed(node, 0).shape is None else needed(node, 0).shape.rank()  # type: ignore[union-attr]
    if attribute(node, "axis", -1) not in (-1, rank - 1):
        raise Miss("the norm is not over the last axis")
    _emit(node, needed(node, 0), needed(node, 1), attribute(node, "epsilon", 1e-5))


def _skip(node: ir.Node) -> None:
    """com.microsoft.SkipSimplifiedLayerNormalization: outputs are y, (mean, deviation: unused), the sum."""
    x = needed(node, 0)
    b = Builder(node)
    if operand(node, 3) is not None:
        x = b.op("Add", x, operand(node, 3))
    inputs = (x, needed(node, 1), needed(node, 2))
    total, y = b.ops("AddRmsNorm", 2, *inputs, domain=DOMAIN, eps=float(attribute(node, "epsilon", 1e-5)))
    for value in (total, y):
        value.type, value.shape = x.type, x.shape
    replace(node, y, None, None, total)


def _emit(node: ir.Node, x: ir.Value | None, gamma: ir.Value, eps: float) -> None:
    y = Builder(node).op("RmsNorm", x, gamma, domain=DOMAIN, eps=float(eps))
    y.shape = node.outputs[0].shape
    replace(node, y)


def _factor(node: ir.Node, wanted: "type[bool] | object") -> tuple[ir.Value, ir.Value]:
    """The operands of a binary node, the constant one first."""
    a, b = needed(node, 0), needed(node, 1)
    if is_constant(a) == is_constant(b):
        raise _NotHere
    return (a, b) if is_constant(a) else (b, a)


def _same_type(a: ir.Value, b: ir.Value) -> bool | None:
    return None if a.dtype is None or b.dtype is None else a.dtype == b.dtype


_RULES = {
    ("", "Mul"): _spelled,
    ("", "RMSNormalization"): _fused,
    ("", "SimplifiedLayerNormalization"): _fused,
    ("com.microsoft", "SimplifiedLayerNormalization"): _fused,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): _skip,
}
