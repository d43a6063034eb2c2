"""MatMul with a constant weight, plus a constant vector  ->  pocket.Linear."""

import onnx_ir as ir

from onnx_passes.graph import DOMAIN, Builder, is_constant, other, producer, replace, sole_use


def fuse_bias(model: ir.Model) -> int:
    """Let matmuls take over the bias that follows them; return how many."""
    count = 0
    for node in list(model.graph):
        if node.op_type != "MatMul" or not is_constant(node.inputs[1]):
            continue
        add = sole_use(node.outputs[0], "Add")
        bias = None if add is None else other(add, node.outputs[0])
        if add is None or bias is None or not is_constant(bias) or bias.shape is None or bias.shape.rank() != 1:
            continue
        y = Builder(add).op("Linear", *node.inputs, bias, domain=DOMAIN)
        y.shape = add.outputs[0].shape
        replace(add, y)
        count += 1
    return count


def linear(value: ir.Value | None) -> ir.Node | None:
    """The MatMul or Linear with a constant weight that makes `value`."""
    node = producer(value, "MatMul", "Linear")
    return node if node is not None and is_constant(node.inputs[1]) else None
