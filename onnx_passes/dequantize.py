"""DequantizeLinear of a constant  ->  a constant: its codes are kept where kernels can read them.

So is one of rows that were gathered from a constant. Codes are kept where they are the weight of a
matmul or an embedding and their groups run along K; elsewhere they become floats.
"""

import onnx_ir as ir

from onnx_passes.ir.edit import Builder, add_tensor, replace, unique_name
from onnx_passes.ir.graph import attribute, is_op, needed, operand, producer
from onnx_passes.ir.rules import Done, Loss, Miss, Outcome, Rules, apply
from onnx_passes.weights.linear_codes import LinearCodes
from onnx_passes.weights.stored import stored


def dequantize(model: ir.Model) -> Outcome:
    """Replace every DequantizeLinear of constants.

    Raises GraphError where its inputs are damaged or do not fit together.
    """
    return apply(model, RULES)


def _read(_: ir.Model, node: ir.Node) -> Done:
    scale, zero = (stored(operand(node, i)) for i in (1, 2))
    gather = producer(operand(node, 0), "Gather")
    x = stored(operand(node, 0) if gather is None else operand(gather, 0))
    if x is None or scale is None or (zero is None and operand(node, 2) is not None):
        return False
    if gather is not None and not scale.is_single:
        raise Miss("its scales are not gathered as its codes are")
    codes, b = LinearCodes.of(node, x, scale, zero), Builder(node)
    if gather is None:
        value, loss = _value(b, codes, _depth_axis(node.outputs[0]))
        replace(node, value)
        return loss or True
    axis = attribute(gather, "axis", 0)
    table, loss = _value(b, codes, 1 if axis == 0 else None)
    replace(node, b.op("Gather", table, needed(gather, 1), axis=axis))
    return loss or True


def _value(b: Builder, codes: LinearCodes, along: int | None) -> tuple[ir.Value, Loss | None]:
    """The constant that codes are, whose K runs along an axis, and what is lost by that."""
    name = unique_name(b.graph, f"{b.prefix}/value")
    try:
        return add_tensor(b.graph, codes.quantized(along, name)), None
    except Miss as miss:
        floats = add_tensor(b.graph, codes.floats(name))
        return floats, Loss(f"its codes are not kept: {miss}")


def _depth_axis(value: ir.Value) -> int | None:
    """The axis of a matrix that its readers sum over: K; None where they disagree or do not."""
    found = {_depth_axis_of(use.node, use.idx) for use in value.uses()}
    return found.pop() if len(found) == 1 else None


def _depth_axis_of(node: ir.Node, index: int) -> int | None:
    """The same for one reader, which has the matrix as input `index`."""
    if is_op(node, "Cast", "Identity"):
        return _depth_axis(node.outputs[0])
    if is_op(node, "Transpose"):
        inner = _depth_axis(node.outputs[0])
        return None if inner is None else 1 - inner
    if is_op(node, "Gather") and index == 0 and attribute(node, "axis", 0) == 0:
        return 1
    return 0 if is_op(node, "MatMul") and index == 1 else None


RULES: Rules = {("", "DequantizeLinear"): _read}
