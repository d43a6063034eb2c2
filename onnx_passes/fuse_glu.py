"""act(gate) * up, gate and up being matmuls of one value  ->  pocket.Glu over one merged matmul.

SwiGLU where act is silu, ReGLU where it is relu (Shazeer 2020, "GLU Variants Improve Transformer").
Experts' products are merged as matmuls are, if they aren't one already.
"""

import onnx_ir as ir

from onnx_passes.analysis.experts.emit import Matrices, gates_and_ups, products
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import (
    DOMAIN,
    attribute,
    dim,
    linear,
    needed,
    other,
    producer,
    rank,
    through,
)
from onnx_passes.ir.rules import Done, Miss, Outcome, Rules, apply
from onnx_passes.weights.concat import merged


def fuse_glu(model: ir.Model) -> Outcome:
    """Replace every gated unit."""
    return apply(model, RULES)


def _fuse(_: ir.Model, node: ir.Node) -> Done:
    for activated, up in (node.inputs, node.inputs[::-1]):
        activation, gate = _activation(activated)
        if gate is None:
            continue
        of_experts = _of_experts(node, gate, up)
        if of_experts is not None:
            replace(node, Builder(node).op("Glu", of_experts, domain=DOMAIN, overload=activation))
            return True
        projections = [linear(gate), linear(up)]
        pair = [p for p in projections if p is not None]
        if len(pair) != 2:
            raise Miss("gate or up is not a matmul with a constant weight")
        if dim(gate, -1) != dim(up, -1):
            raise Miss("gate and up differ in width")
        both, loss = merged(Builder(node), pair, f"{gate.name}+up")
        replace(node, Builder(node).op("Glu", both, domain=DOMAIN, overload=activation))
        return loss or True
    return False


def _of_experts(node: ir.Node, gate: ir.Value, up: ir.Value | None) -> ir.Value | None:
    """Gates and ups of the chosen experts as one value, or None."""
    split = producer(gate, "Split")
    if split is not None and up is not None and list(split.outputs) == [gate, up]:
        whole, last = needed(split, 0), (rank(split.inputs[0]) or 0) - 1
        along = attribute(split, "axis", 0) in (-1, last) and dim(gate, -1) == dim(up, -1)
        return whole if along and producer(whole, "Experts") is not None else None
    first, third = producer(gate, "Experts"), producer(up, "Experts")
    if first is None or third is None:
        return None
    if first.inputs[0] is not third.inputs[0] or first.inputs[2] is not third.inputs[2]:
        raise Miss("gate and up are of different experts")
    b = Builder(node)
    both = gates_and_ups(b, Matrices.of(first), Matrices.of(third))
    return products(b, needed(first, 0), both, needed(first, 2))


def _activation(value: ir.Value | None) -> tuple[str, ir.Value | None]:
    """("silu", x) if `value` is x * sigmoid(x), ("relu", x) if it is relu(x)."""
    node = producer(through(value, "Cast"), "Mul", "Swish", "Relu")
    if node is None:
        return "", None
    if node.op_type == "Relu":
        return "relu", needed(node, 0)
    if node.op_type == "Swish":
        return ("silu", needed(node, 0)) if attribute(node, "alpha", 1.0) == 1 else ("", None)
    for factor in node.inputs:
        sigmoid = producer(factor, "Sigmoid")
        if sigmoid is not None and factor is not None and other(node, factor) is sigmoid.inputs[0]:
            return "silu", sigmoid.inputs[0]
    return "", None


RULES: Rules = {("", "Mul"): _fuse}
