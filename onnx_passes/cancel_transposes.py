"""Transposes that undo each other go, and so do reshapes of reshapes: what is left is token-major."""

import onnx_ir as ir

from onnx_passes.graph import Builder, attribute, constant, producer, replace


def cancel_transposes(model: ir.Model) -> int:
    """Remove pairs of inverse transposes and merge chains of reshapes; return how many."""
    count = 0
    for node in list(model.graph):
        if node.op_type == "Transpose":
            count += _inverse_pair(node)
        elif node.op_type == "Reshape":
            count += _reshape_chain(node)
    return count


def _inverse_pair(node: ir.Node) -> bool:
    before = producer(node.inputs[0], "Transpose")
    if before is None or before.inputs[0] is None or node.outputs[0].is_graph_output():
        return False
    perm, earlier = attribute(node, "perm"), attribute(before, "perm")
    if perm is None or earlier is None or [earlier[i] for i in perm] != list(range(len(perm))):
        return False
    replace(node, before.inputs[0])
    return True


def _reshape_chain(node: ir.Node) -> bool:
    """Reshape(Reshape(x)): one reshape, or none if x has the shape already."""
    before = producer(node.inputs[0], "Reshape")
    source = None if before is None else before.inputs[0]
    if source is None or source.shape is None or node.outputs[0].is_graph_output():
        return False
    if source.shape == node.outputs[0].shape:
        replace(node, source)
        return True
    target = constant(node.inputs[1])
    if target is None or 0 in target:
        return False
    replace(node, Builder(node).op("Reshape", source, node.inputs[1]))
    return True
