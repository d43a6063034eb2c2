"""MatMul with a constant weight, plus a constant vector  ->  pocket.Linear."""

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import DOMAIN, dim, is_constant, linear, other, rank, sole_use
from onnx_passes.ir.rules import Outcome, Rules, apply


def fuse_bias(model: ir.Model) -> Outcome:
    """Let matmuls take over the bias that follows them."""
    return apply(model, RULES)


def _fuse(_: ir.Model, node: ir.Node) -> bool:
    weight = linear(node.outputs[0])
    add = None if weight is None else sole_use(node.outputs[0], "Add")
    bias = None if add is None else other(add, node.outputs[0])
    if add is None or bias is None or not is_constant(bias) or rank(bias) != 1:
        return False
    if dim(bias, 0) != dim(node.inputs[1], 1):
        return False
    replace(add, Builder(add).op("Linear", *node.inputs, bias, domain=DOMAIN))
    return True


RULES: Rules = {("", "MatMul"): _fuse}
