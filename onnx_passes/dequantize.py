"""DequantizeLinear of a constant  ->  a constant: its codes are kept where kernels can read them.

That is where it is the weight of a matmul or an embedding and its groups run along K; elsewhere it
becomes floats.
"""

import onnx_ir as ir

from onnx_passes.ir.edit import add_tensor, replace, unique_name
from onnx_passes.ir.graph import attribute, is_op, operand
from onnx_passes.ir.rules import Done, Loss, Miss, Outcome, Rules, apply
from onnx_passes.weights.linear_codes import LinearCodes
from onnx_passes.weights.stored import stored


def dequantize(model: ir.Model) -> Outcome:
    """Replace every DequantizeLinear of constants.

    Raises GraphError where its inputs are damaged or do not fit together.
    """
    return apply(model, RULES)


def _read(_: ir.Model, node: ir.Node) -> Done:
    x, scale, zero = (stored(operand(node, i)) for i in range(3))
    if x is None or scale is None or (zero is None and operand(node, 2) is not None):
        return False
    codes, graph, loss = LinearCodes.of(node, x, scale, zero), node.graph, None
    assert isinstance(graph, ir.Graph)
    name = unique_name(graph, f"{node.outputs[0].name}/value")
    tensor: ir.LazyTensor
    try:
        tensor = codes.quantized(_depth_axis(node.outputs[0]), name)
    except Miss as miss:
        tensor, loss = codes.floats(name), Loss(f"its codes are not kept: {miss}")
    replace(node, add_tensor(graph, tensor))
    return loss or True


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
