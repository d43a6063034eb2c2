"""Every spelling of RMSNorm  ->  pocket.RmsNorm, and com.microsoft's skip norm  ->  AddRmsNorm.

Spelled out: gamma * (x * (1 / sqrt(mean(x^2) + eps))), with Reciprocal or Div, in any order of
factors (Zhang & Sennrich 2019, eq. 4); or RMSNormalization (opset 23),
SimplifiedLayerNormalization. Twice per layer, once at the end.
"""

import onnx_ir as ir

from onnx_passes.analysis.rms import spelled_norm
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import (
    DOMAIN,
    attribute,
    check_attributes,
    dim,
    finite,
    is_constant,
    needed,
    operand,
    rank,
)
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply


def fuse_rmsnorm(model: ir.Model) -> Outcome:
    """Replace every RMSNorm."""
    return apply(model, RULES)


def _spelled(_: ir.Model, node: ir.Node) -> bool:
    norm = spelled_norm(node)
    return norm is not None and _emit(node, *norm)


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


RULES: Rules = {
    ("", "Mul"): _spelled,
    ("", "RMSNormalization"): _fused,
    ("", "SimplifiedLayerNormalization"): _fused,
    ("com.microsoft", "SimplifiedLayerNormalization"): _fused,
    ("com.microsoft", "SkipSimplifiedLayerNormalization"): _skip,
}
