"""Ops that take any number of operands  ->  ops of two: Max, Min, Sum and Mean.

One operand is the answer itself; more go two at a time, from the left.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import needed
from onnx_passes.ir.rules import Outcome, Rules, apply

PAIRWISE = {"Max": "Max", "Min": "Min", "Sum": "Add", "Mean": "Add"}


def split_variadic(model: ir.Model) -> Outcome:
    """Replace every such op that is not a Max or Min of two."""
    return apply(model, RULES)


def _split(_: ir.Model, node: ir.Node) -> bool:
    pairwise, count = PAIRWISE[node.op_type], len(node.inputs)
    if pairwise == node.op_type and count == 2:
        return False
    b, total = Builder(node), needed(node, 0)
    for index in range(1, count):
        total = b.op(pairwise, total, needed(node, index))
    if node.op_type == "Mean" and count > 1:
        total = b.op("Div", total, _number(b, count, node))
    replace(node, total)
    return True


def _number(b: Builder, count: int, node: ir.Node) -> ir.Value:
    dtype = node.outputs[0].dtype
    assert dtype is not None, "shapes and types are inferred before this pass"
    return b.constant(np.array(count, dtype.numpy()))


RULES: Rules = {("", op_type): _split for op_type in PAIRWISE}
