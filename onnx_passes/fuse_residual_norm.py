"""x + residual, then RMSNorm of the sum  ->  pocket.AddRmsNorm (the sum goes on as the next residual)."""

import onnx_ir as ir

from onnx_passes.graph import DOMAIN, Builder, is_constant, producer, replace


def fuse_residual_norm(model: ir.Model) -> int:
    """Fuse every addition whose sum is normalised; return how many."""
    count = 0
    for node in list(model.graph):
        add = producer(node.inputs[0], "Add") if node.domain == DOMAIN and node.op_type == "RmsNorm" else None
        if add is None or any(x is None or is_constant(x) or x.shape != add.outputs[0].shape for x in add.inputs):
            continue
        b = Builder(add)
        total, y = b.ops("AddRmsNorm", 2, *add.inputs, node.inputs[1], domain=DOMAIN, eps=node.attributes["eps"].as_float())
        for new, old in ((total, add.outputs[0]), (y, node.outputs[0])):
            new.type, new.shape = old.type, old.shape
        replace(node, y)
        replace(add, total)
        count += 1
    return count
