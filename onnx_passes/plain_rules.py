"""What single ops of ONNX Runtime's own become, in ONNX's: the rules of `plain_ops`."""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import Builder
from onnx_passes.ir.graph import attribute, needed, operand, rank
from onnx_passes.ir.rules import Miss
from onnx_passes.ir.shapes.shape_rules import transposed_order

Values = Sequence[ir.Value | None]
# Activations of FusedGemm and the names of their own attributes.
ACTIVATIONS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign"), ()),
    **dict.fromkeys(("LeakyRelu", "Elu", "ThresholdedRelu"), ("alpha",)),
    "HardSigmoid": ("alpha", "beta"),
}


def _number(b: Builder, value: float, like: ir.Value) -> ir.Value:
    dtype = like.dtype or ir.DataType.FLOAT
    return b.constant(np.array(value, dtype.numpy()))


def _scaled(b: Builder, x: ir.Value, factor: float) -> ir.Value:
    return x if factor == 1 else b.op("Mul", x, _number(b, factor, x))


def _sum(b: Builder, *values: ir.Value | None) -> ir.Value:
    """Of those values that are there."""
    first, *rest = [value for value in values if value is not None]
    for value in rest:
        first = _typed(b.op("Add", first, value), first)
    return first


def _typed(value: ir.Value, like: ir.Value) -> ir.Value:
    value.type = like.type
    return value


def quick_gelu(_: ir.Model, b: Builder, node: ir.Node) -> Values:
    """x * sigmoid(alpha * x): with alpha 1 it is SiLU."""
    x = needed(node, 0)
    gate = _scaled(b, x, attribute(node, "alpha", np.float32(1.702)))
    return [b.op("Mul", x, b.op("Sigmoid", gate))]


def gelu(_: ir.Model, b: Builder, node: ir.Node) -> Values:
    """Gelu, BiasGelu: x * (1 + erf(x / sqrt 2)) / 2 (Hendrycks & Gimpel 2016), x plus a bias."""
    x = _sum(b, needed(node, 0), operand(node, 1))
    bent = b.op("Erf", b.op("Mul", x, _number(b, math.sqrt(0.5), x)))
    return [_half_gated(b, x, bent)]


def fast_gelu(_: ir.Model, b: Builder, node: ir.Node) -> Values:
    """The same with tanh(sqrt(2 / pi) * (x + 0.044715 x^3)) for erf."""
    x = _sum(b, needed(node, 0), operand(node, 1))
    square = _typed(b.op("Mul", x, x), x)
    factor = b.op("Add", _scaled(b, square, 0.044715), _number(b, 1, x))
    inner = b.op("Mul", b.op("Mul", x, factor), _number(b, math.sqrt(2 / math.pi), x))
    return [_half_gated(b, x, b.op("Tanh", inner))]


def _half_gated(b: Builder, x: ir.Value, bent: ir.Value) -> ir.Value:
    half = b.op("Mul", x, _number(b, 0.5, x))
    return b.op("Mul", half, b.op("Add", bent, _number(b, 1, x)))


def matmul(_: ir.Model, b: Builder, node: ir.Node) -> Values:
    """FusedMatMul, TransposeMatMul: alpha * A' B', each perhaps transposed."""
    a, w = (_transposed(b, node, index, side) for index, side in enumerate("AB"))
    return [
        _scaled(b, _typed(b.op("MatMul", a, w), needed(node, 0)), attribute(node, "alpha", 1.0))
    ]


def _transposed(b: Builder, node: ir.Node, index: int, side: str) -> ir.Value:
    """An operand with its last two axes swapped, or its first one moved after the other batches."""
    x = needed(node, index)
    size = rank(x)
    if size is None:
        raise Miss(f"the rank of its operand {side} is unknown")
    order = transposed_order(node, side, size)
    return x if order == list(range(size)) else b.op("Transpose", x, perm=order)


def fused_gemm(_: ir.Model, b: Builder, node: ir.Node) -> Values:
    """FusedGemm: a Gemm and one of ONNX's activations after it."""
    own = {name: attribute(node, name) for name in ("alpha", "beta", "transA", "transB")}
    given = {name: value for name, value in own.items() if value is not None}
    y = b.op("Gemm", *node.inputs, **given)
    kind = attribute(node, "activation", "")
    return [_activated(b, y, kind, node) if kind else y]


def _activated(b: Builder, y: ir.Value, kind: str, node: ir.Node) -> ir.Value:
    names = ACTIVATIONS.get(kind)
    if names is None:
        raise Miss(f"its activation {kind!r} is not known")
    own = dict(zip(names, ("activation_alpha", "activation_beta"), strict=False))
    given = {name: attribute(node, key) for name, key in own.items() if key in node.attributes}
    return b.op(kind, y, **given)


def skip_layer_norm(_: ir.Model, b: Builder, node: ir.Node) -> Values:
    """SkipLayerNormalization: the norm of a sum, and the sum."""
    if any(output.uses() for output in node.outputs[1:3]):
        raise Miss("its mean or deviation is read")
    total = _sum(b, needed(node, 0), needed(node, 1), operand(node, 4))
    epsilon = attribute(node, "epsilon", 1e-12)
    y = b.op(
        "LayerNormalization", total, needed(node, 2), operand(node, 3), axis=-1, epsilon=epsilon
    )
    return [y, None, None, total]


def bias_add(_: ir.Model, b: Builder, node: ir.Node) -> Values:
    """The sum of x, a bias and what is skipped."""
    return [_sum(b, *node.inputs)]


def gated_add(_: ir.Model, b: Builder, node: ir.Node) -> Values:
    """x + y * gate, the gate [..., 1]."""
    x, y, gate = (needed(node, i) for i in range(3))
    return [b.op("Add", x, _typed(b.op("Mul", y, gate), x))]


def same(_: ir.Model, b: Builder, node: ir.Node) -> Values:
    """An op that ONNX took over as it was."""
    given = {name: a.value for name, a in node.attributes.items()}
    return [b.op(node.op_type, *node.inputs, **given)]
