"""silu(gate) * up, gate and up being matmuls of one value  ->  pocket.SwiGlu over one merged matmul (Shazeer 2020)."""

import onnx_ir as ir

from onnx_passes.fuse_bias import linear
from onnx_passes.graph import DOMAIN, Builder, Miss, explain, needed, other, producer, replace, through
from onnx_passes.merge_weights import merged


def fuse_swiglu(model: ir.Model) -> int:
    """Replace every gated unit; return how many."""
    count = 0
    for node in list(model.graph):
        if node.op_type != "Mul":
            continue
        try:
            count += _rewrite(node)
        except Miss as miss:
            explain(node, miss)
    return count


def _rewrite(node: ir.Node) -> bool:
    for silu, up in (node.inputs, node.inputs[::-1]):
        gate = _silu(silu)
        if gate is None:
            continue
        projections = linear(gate), linear(up)
        if projections[0] is None or projections[1] is None:
            raise Miss("gate or up is not a matmul with a constant weight")
        b = Builder(node)
        name = (projections[0].inputs[1].name or "gate") if projections[0].inputs[1] is not None else "gate"
        y = b.op("SwiGlu", merged(b, projections, f"{name}+up"), domain=DOMAIN)  # type: ignore[arg-type]
        replace(node, y)
        return True
    return False


def _silu(value: ir.Value | None) -> ir.Value | None:
    """x if `value` is x * sigmoid(x)."""
    node = producer(through(value, "Cast"), "Mul", "Swish", "Silu")
    if node is None:
        return None
    if node.op_type != "Mul":
        return needed(node, 0)
    for factor in node.inputs:
        sigmoid = producer(factor, "Sigmoid")
        if sigmoid is not None and factor is not None and other(node, factor) is sigmoid.inputs[0]:
            return sigmoid.inputs[0]
    return None
