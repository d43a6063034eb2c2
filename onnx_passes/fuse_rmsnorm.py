"""Every spelling of RMSNorm  ->  pocket.RmsNorm, and com.microsoft's skip norm  ->  AddRmsNorm.

Spelled out: gamma * (x * (1 / sqrt(mean(x^2) + eps))), with Reciprocal or Div, in any order of
factors (Zhang & Sennrich 2019, eq. 4); or RMSNormalization (opset 23),
SimplifiedLayerNormalization. Twice per layer, once at the end.
"""

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import (
    DOMAIN,
    attribute,
    check_attributes,
    dim,
    finite,
    integers,
    is_constant,
    needed,
    operand,
    producer,
    rank,
    scalar,
    through,
)
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply


def fuse_rmsnorm(model: ir.Model) -> Outcome:
    """Replace every RMSNorm."""
    return apply(model, RULES)


def _spelled(_: ir.Model, node: ir.Node) -> bool:
    """`node` is the last Mul: gamma times the normalised x."""
    scaled = _constant_first(node)
    found = None if scaled is None else _normalised(through(scaled[1], "Cast"))
    if scaled is None or found is None:
        return False
    x, root = found
    shifted = producer(root.inputs[0], "Add")
    inside = None if shifted is None else _constant_first(shifted)
    if inside is None:
        raise Miss("no epsilon is added below the square root")
    eps, reduce = scalar(inside[0]), producer(inside[1], "ReduceMean")
    if reduce is None or eps is None:
        raise Miss("below the root is not a mean plus one constant")
    _check_mean(reduce, x)
    narrow = x.dtype != node.outputs[0].dtype  # computed in float32, between casts
    return _emit(node, through(x, "Cast") if narrow else x, scaled[0], eps)


def _normalised(value: ir.Value | None) -> tuple[ir.Value, ir.Node] | None:
    """(x, the Sqrt node) of x * (1 / sqrt(.)) or x / sqrt(.)."""
    node = producer(value, "Mul", "Div")
    if node is None or None in node.inputs:
        return None
    if node.op_type == "Div":
        root = producer(node.inputs[1], "Sqrt")
        return None if root is None else (needed(node, 0), root)
    for x, unit in (node.inputs, node.inputs[::-1]):
        inverse = producer(unit, "Reciprocal", "Div")
        root = None if inverse is None else producer(inverse.inputs[-1], "Sqrt")
        if inverse is None or root is None or x is None:
            continue
        if inverse.op_type == "Div" and scalar(inverse.inputs[0]) != 1:
            raise Miss("the numerator over the root is not the constant 1")
        return x, root
    return None


def _check_mean(reduce: ir.Node, x: ir.Value) -> None:
    square = producer(reduce.inputs[0], "Pow", "Mul")
    if square is None or square.inputs[0] is not x:
        raise Miss("the mean is not of the square of the value that is scaled")
    if square.op_type == "Pow" and scalar(square.inputs[1]) != 2:
        raise Miss(f"the exponent is {scalar(square.inputs[1])}, not the constant 2")
    if square.op_type == "Mul" and square.inputs[1] is not x:
        raise Miss("the mean is of a product, not of a square")
    axes = attribute(reduce, "axes") or integers(operand(reduce, 1))
    if axes not in ([-1], [(rank(x) or 0) - 1]):
        raise Miss(f"the mean is over the axes {axes}, not over the last one")
    if not attribute(reduce, "keepdims", 1):
        raise Miss("the mean drops its axis")


def _fused(_: ir.Model, node: ir.Node) -> bool:
    x = needed(node, 0)
    check_attributes(node, ("axis", "epsilon"), stash_type=1)
    if attribute(node, "axis", -1) not in (-1, (rank(x) or 0) - 1):
        raise Miss("the norm is not over the last axis")
    if any(output.uses() for output in node.outputs[1:]):
        raise Miss("its further outputs are read")
    return _emit(node, x, needed(node, 1), attribute(node, "epsilon", 1e-5))


def _skip(_: ir.Model, node: ir.Node) -> bool:
    """SkipSimplifiedLayerNormalization: y, mean and deviation (only for training), the sum."""
    x, skip, gamma = (needed(node, i) for i in range(3))
    check_attributes(node, ("epsilon",))
    if any(output.uses() for output in node.outputs[1:3]):
        raise Miss("its mean or deviation is read")
    _check_gamma(gamma, x)
    if x.shape != skip.shape:
        raise Miss("x and what is added to it differ in shape")
    b = Builder(node)
    if operand(node, 3) is not None:
        x = _like(b.op("Add", x, operand(node, 3)), x)
    epsilon = finite(attribute(node, "epsilon", 1e-12), "epsilon")
    total, y = b.ops("AddRmsNorm", 2, x, skip, gamma, domain=DOMAIN, eps=epsilon)
    replace(node, _like(y, x), None, None, _like(total, x))
    return True


def _emit(node: ir.Node, x: ir.Value | None, gamma: ir.Value, eps: float) -> bool:
    _check_gamma(gamma, x)
    replace(node, Builder(node).op("RmsNorm", x, gamma, domain=DOMAIN, eps=finite(eps, "epsilon")))
    return True


def _check_gamma(gamma: ir.Value, x: ir.Value | None) -> None:
    if not is_constant(gamma) or rank(gamma) != 1 or dim(gamma, 0) != dim(x, -1):
        raise Miss("the scale is not a constant vector as long as the rows")


def _like(value: ir.Value, model: ir.Value) -> ir.Value:
    value.type, value.shape = model.type, model.shape
    return value


def _constant_first(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """The operands of a binary node of which one is constant: that one first."""
    a, b = needed(node, 0), needed(node, 1)
    if is_constant(a) == is_constant(b):
        return None
    return (a, b) if is_constant(a) else (b, a)


RULES: Rules = {
    ("", "Mul"): _spelled,
    ("", "RMSNormalization"): _fused,
    ("", "SimplifiedLayerNormalization"): _fused,
    ("com.microsoft", "SimplifiedLayerNormalization"): _fused,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): _skip,
}
