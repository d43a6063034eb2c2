"""Softmax of x less a number for each row  ->  Softmax of x: it is the same.

Exporters of gpt-oss subtract a row's maximum, as every softmax does for itself. Without that, what
softmax reads is an expression in the score of attention.
"""

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import attribute, dim, needed, operand, opset, producer, rank
from onnx_passes.ir.rules import Outcome, Rules, apply


def unshift_softmax(model: ir.Model) -> Outcome:
    """Let every Softmax read what it did before the subtraction."""
    return apply(model, RULES)


def _unshift(_: ir.Model, node: ir.Node) -> bool:
    shifted = producer(operand(node, 0), "Sub")
    if shifted is None or opset(node) < 13:  # before, it was over several axes
        return False
    x, shift, axis = needed(shifted, 0), needed(shifted, 1), attribute(node, "axis", -1)
    if x.shape is None or x.shape != shifted.outputs[0].shape or rank(shift) != rank(x):
        return False
    if dim(shift, axis) != 1:
        return False
    replace(node, Builder(node).op("Softmax", x, axis=axis))
    return True


RULES: Rules = {("", "Softmax"): _unshift}
