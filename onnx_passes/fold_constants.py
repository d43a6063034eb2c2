"""Constant nodes become initializers; what is computed from constants alone is computed now.

A large weight that is transposed or cast stays unread: it becomes a lazy tensor, evaluated
where it is packed.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    LiftConstantsToInitializersPass,
)
from onnxscript.optimizer import fold_constants as fold

from onnx_passes.ir.edit import add_tensor, drop_unused, replace, unique_name
from onnx_passes.ir.graph import attribute, operand
from onnx_passes.ir.rules import Outcome, Rules, apply
from onnx_passes.weights.lazy import Cast, Lazy, Transposed
from onnx_passes.weights.quantized import QuantizedTensor

LIMIT = 16384  # elements


def fold_constants(model: ir.Model) -> Outcome:
    """Fold, drop casts to a value's own type, unify equal subexpressions; count the nodes gone."""
    before = len(model.graph)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    fold(
        model,
        onnx_shape_inference=False,
        input_size_limit=LIMIT,
        output_size_limit=LIMIT,
        should_fold=lambda node: None if _is_small(node) else False,  # not even a Transpose
    )
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    apply(model, IDLE)
    apply(model, RULES)
    CommonSubexpressionEliminationPass()(model)
    drop_unused(model)
    return Outcome(before - len(model.graph))


def _is_small(node: ir.Node) -> bool:
    tensors = [value.const_value for value in node.inputs if value is not None]
    if any(isinstance(tensor, QuantizedTensor) for tensor in tensors):
        return False  # it would become floats
    if node.op_type in ("Transpose", "Cast") and any(isinstance(t, Lazy) for t in tensors):
        return False  # it would lose the type it came in
    return all(tensor is None or tensor.size <= LIMIT for tensor in tensors)


def _drop(_: ir.Model, node: ir.Node) -> bool:
    """Identity, and Cast to a value's own type."""
    source = operand(node, 0)
    if source is None or (node.outputs[0].is_graph_output() and not _may_be_output(source)):
        return False
    own = source.dtype is not None and source.dtype == attribute(node, "to")
    if own or node.op_type == "Identity":
        replace(node, source)
    return own or node.op_type == "Identity"


def _may_be_output(value: ir.Value) -> bool:
    """Whether a node makes the value, and makes it for no output yet."""
    return value.producer() is not None and not value.is_graph_output()


def _fold_weight(model: ir.Model, node: ir.Node) -> bool:
    """Transpose and Cast of an initializer: a lazy initializer instead."""
    source, output = operand(node, 0), node.outputs[0]
    if source is None or source.const_value is None or output.is_graph_output():
        return False
    if output.dtype is None or output.shape is None:
        return False
    name = unique_name(model.graph, f"{output.name}/value")
    changed = _change(node, source.const_value, output.dtype, output.shape, name)
    replace(node, add_tensor(model.graph, changed))
    return True


def _change(
    node: ir.Node, tensor: ir.TensorProtocol, dtype: ir.DataType, shape: ir.Shape, name: str
) -> ir.TensorProtocol:
    """The tensor as a Transpose or Cast makes it, unread; a quantised one stays so."""
    is_cast = node.op_type == "Cast"
    if isinstance(tensor, QuantizedTensor) and (not is_cast or dtype.is_floating_point()):
        return tensor.cast(dtype, name) if is_cast else tensor.transpose(name)
    if len(tensor.shape) == 2:
        return Cast(tensor, dtype, name) if is_cast else Transposed(tensor, name)
    perm = attribute(node, "perm")

    def evaluate() -> ir.TensorProtocol:
        array = tensor.numpy()
        return ir.tensor(array.astype(dtype.numpy()) if is_cast else np.transpose(array, perm))

    return ir.LazyTensor(evaluate, dtype=dtype, shape=shape, name=name)


IDLE: Rules = {("", "Cast"): _drop, ("", "Identity"): _drop}
RULES: Rules = {("", "Cast"): _fold_weight, ("", "Transpose"): _fold_weight}
