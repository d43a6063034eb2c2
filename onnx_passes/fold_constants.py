"""Constant nodes become initializers; what is computed from constants alone is computed now.

A large weight that is transposed or retyped stays unread: it becomes a lazy tensor, evaluated
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
from onnx_passes.weights.lazy import Lazy, Retyped, Turned
from onnx_passes.weights.quantized import CodedTensor

LIMIT = 16384  # elements


def fold_constants(model: ir.Model) -> int:
    """Fold, drop casts to a value's own type, unify equal subexpressions; return the nodes gone."""
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
    _drop_casts(model)
    _fold_weights(model)
    CommonSubexpressionEliminationPass()(model)
    drop_unused(model)
    return before - len(model.graph)


def _is_small(node: ir.Node) -> bool:
    tensors = [value.const_value for value in node.inputs if value is not None]
    if any(isinstance(tensor, CodedTensor) for tensor in tensors):
        return False  # it would lose its codes
    if node.op_type in ("Transpose", "Cast") and any(isinstance(t, Lazy) for t in tensors):
        return False  # it would lose the type it came in
    return all(tensor is None or tensor.size <= LIMIT for tensor in tensors)


def _drop_casts(model: ir.Model) -> None:
    """Identity, and Cast to a value's own type."""
    for node in list(model.graph):
        source = operand(node, 0) if node.op_type in ("Cast", "Identity") else None
        if source is None or (node.outputs[0].is_graph_output() and not _may_be_output(source)):
            continue
        own = source.dtype is not None and source.dtype == attribute(node, "to")
        if own or node.op_type == "Identity":
            replace(node, source)


def _may_be_output(value: ir.Value) -> bool:
    """Whether a node makes the value, and makes it for no output yet."""
    return value.producer() is not None and not value.is_graph_output()


def _fold_weights(model: ir.Model) -> None:
    """Transpose and Cast of an initializer: a lazy initializer instead."""
    for node in list(model.graph):
        source = operand(node, 0) if node.op_type in ("Transpose", "Cast") else None
        output = node.outputs[0]
        if source is None or source.const_value is None or output.is_graph_output():
            continue
        if output.dtype is None or output.shape is None or node.domain != "":
            continue
        name = unique_name(model.graph, f"{output.name}/value")
        changed = _change(node, source.const_value, output.dtype, output.shape, name)
        replace(node, add_tensor(model.graph, changed))


def _change(
    node: ir.Node, tensor: ir.TensorProtocol, dtype: ir.DataType, shape: ir.Shape, name: str
) -> ir.TensorProtocol:
    """The tensor as a Transpose or Cast makes it, unread; codes stay codes."""
    is_cast = node.op_type == "Cast"
    if isinstance(tensor, CodedTensor) and (not is_cast or dtype.is_floating_point()):
        return tensor.retyped(dtype, name) if is_cast else tensor.turned(name)
    if len(tensor.shape) == 2:
        return Retyped(tensor, dtype, name) if is_cast else Turned(tensor, name)
    perm = attribute(node, "perm")

    def evaluate() -> ir.TensorProtocol:
        array = tensor.numpy()
        return ir.tensor(array.astype(dtype.numpy()) if is_cast else np.transpose(array, perm))

    return ir.LazyTensor(evaluate, dtype=dtype, shape=shape, name=name)
