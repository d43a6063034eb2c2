"""x + residual, then RMSNorm of the sum  ->  pocket.AddRmsNorm (the sum is the next residual)."""

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import DOMAIN, is_constant, producer
from onnx_passes.ir.rules import Outcome, Rules, apply


def fuse_residual_norm(model: ir.Model) -> Outcome:
    """Fuse every addition whose sum is normalised."""
    return apply(model, RULES)


def _fuse(_: ir.Model, node: ir.Node) -> bool:
    add = producer(node.inputs[0], "Add")
    if add is None or any(x is None or is_constant(x) for x in add.inputs):
        return False
    if any(x is not None and x.shape != add.outputs[0].shape for x in add.inputs):
        return False
    eps = node.attributes["eps"].as_float()
    outputs = Builder(add).ops("AddRmsNorm", 2, *add.inputs, node.inputs[1], domain=DOMAIN, eps=eps)
    replace(node, outputs[1])
    replace(add, outputs[0])
    return True


RULES: Rules = {(DOMAIN, "RmsNorm"): _fuse}
