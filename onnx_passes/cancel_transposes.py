"""Transposes that undo each other go, and reshapes of reshapes: what is left is token-major."""

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import attribute, integers, operand, producer
from onnx_passes.ir.rules import Outcome, Rules, apply


def cancel_transposes(model: ir.Model) -> Outcome:
    """Remove pairs of inverse transposes and merge chains of reshapes."""
    return apply(model, RULES)


def _inverse_pair(_: ir.Model, node: ir.Node) -> bool:
    before = producer(operand(node, 0), "Transpose")
    source = None if before is None else operand(before, 0)
    if before is None or source is None or node.outputs[0].is_graph_output():
        return False
    perm, earlier = attribute(node, "perm"), attribute(before, "perm")
    if perm is None or earlier is None or sorted(perm) != sorted(earlier):
        return False
    if sorted(perm) != list(range(len(perm))) or [earlier[i] for i in perm] != sorted(perm):
        return False
    replace(node, source)
    return True


def _reshape_chain(_: ir.Model, node: ir.Node) -> bool:
    """Reshape(Reshape(x)): one reshape, or none if x has the shape already."""
    before = producer(operand(node, 0), "Reshape")
    source = None if before is None else operand(before, 0)
    shape = node.outputs[0].shape
    if source is None or source.shape is None or node.outputs[0].is_graph_output():
        return False
    if source.shape == shape and all(isinstance(d, int) or d.value for d in shape):
        replace(node, source)
        return True
    target = integers(operand(node, 1))
    if target is None or 0 in target:
        return False
    replace(node, Builder(node).op("Reshape", source, operand(node, 1)))
    return True


RULES: Rules = {("", "Transpose"): _inverse_pair, ("", "Reshape"): _reshape_chain}
