"""Constant nodes become initializers; what is computed from constants alone is computed now.

A large weight that is transposed or retyped stays unread: it becomes a lazy tensor, evaluated where it is packed.
"""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    IdentityEliminationPass,
    LiftConstantsToInitializersPass,
)
from onnxscript.optimizer import fold_constants as fold

from onnx_passes.graph import attribute, drop_unused, replace, unique_name

LIMIT = 16384  # elements


def fold_constants(model: ir.Model) -> int:
    """Fold, drop casts to the type that a value has already, unify equal subexpressions; return how many nodes went."""
    before = len(model.graph)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    fold(model, onnx_shape_inference=False, input_size_limit=LIMIT, output_size_limit=LIMIT)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    IdentityEliminationPass()(model)
    _drop_casts(model)
    _fold_weights(model)
    CommonSubexpressionEliminationPass()(model)
    drop_unused(model)
    return before - len(model.graph)


def _drop_casts(model: ir.Model) -> None:
    for node in list(model.graph):
        if node.op_type == "Cast" and node.inputs[0] is not None:
            same = node.inputs[0].dtype == ir.DataType(node.attributes["to"].as_int())
            if same and not node.outputs[0].is_graph_output():
                replace(node, node.inputs[0])


def _fold_weights(model: ir.Model) -> None:
    """Transpose and Cast of an initializer: a lazy initializer instead."""
    for node in list(model.graph):
        source = node.inputs[0] if node.op_type in ("Transpose", "Cast") and node.inputs else None
        output = node.outputs[0]
        if source is None or source.const_value is None or output.is_graph_output():
            continue
        if output.dtype is None or output.shape is None or node.domain != "":
            continue
        name = unique_name(model.graph, f"{output.name}/value")
        lazy = ir.LazyTensor(_change(node, source.const_value), dtype=output.dtype, shape=output.shape, name=name)
        value = ir.val(name, dtype=output.dtype, shape=output.shape, const_value=lazy)
        model.graph.register_initializer(value)
        replace(node, value)


def _change(node: ir.Node, tensor: ir.TensorProtocol) -> Callable[[], ir.Tensor]:
    perm, dtype = attribute(node, "perm"), node.outputs[0].dtype

    def evaluate() -> ir.Tensor:
        array = tensor.numpy()
        if node.op_type == "Transpose":
            return ir.Tensor(np.transpose(array, perm))
        assert dtype is not None
        return ir.Tensor(array.astype(dtype.numpy()))

    return evaluate
