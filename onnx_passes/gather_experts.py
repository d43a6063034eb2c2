"""A product with matrices that are gathered  ->  a product of chosen matrices (pocket.Experts).

So dynamo writes mixtures of experts (batched_mm): the matrices of the experts that each row chose,
times the row.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.experts.emit import Matrices, products
from onnx_passes.ir.edit import Builder, add_tensor, replace, unique_name
from onnx_passes.ir.graph import (
    attribute,
    dim,
    integers,
    needed,
    operand,
    producer,
    rank,
    sole_use,
)
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply
from onnx_passes.weights.picked import SideBySide


def gather_experts(model: ir.Model) -> Outcome:
    """Replace every product with matrices that are gathered from a constant."""
    return apply(model, RULES)


def _gathered(_: ir.Model, node: ir.Node) -> bool:
    """W[indices] x, [.., N, K] [.., K, 1], or x W[indices], [.., 1, K] [.., K, N]."""
    for side in (0, 1):
        found = _gather(operand(node, side))
        if found is not None:
            return _replace_gathered(node, side, *found)
    return False


def _gather(value: ir.Value | None) -> tuple[ir.TensorProtocol, ir.Value] | None:
    """The constant [E, A, B] and the indices of matrices that are gathered from it."""
    node = producer(value, "Gather", "GatherND")
    table = None if node is None else ir.convenience.get_const_tensor(needed(node, 0))
    if (
        node is None
        or table is None
        or len(table.shape) != 3
        or not table.dtype.is_floating_point()
    ):
        return None
    indices = needed(node, 1)
    if node.op_type == "Gather":
        return (table, indices) if attribute(node, "axis", 0) == 0 else None
    deeper = producer(indices, "Unsqueeze")
    size = rank(indices)
    if attribute(node, "batch_dims", 0) or dim(indices, -1) != 1 or deeper is None or size is None:
        return None
    return (
        (table, needed(deeper, 0)) if integers(operand(deeper, 1)) in ([-1], [size - 1]) else None
    )


def _replace_gathered(
    node: ir.Node, side: int, table: ir.TensorProtocol, indices: ir.Value
) -> bool:
    x, size = needed(node, 1 - side), rank(indices)
    unit = -1 if side == 0 else -2  # the axis of x that is no row of matrices
    if dim(x, unit) != 1 or size is None or rank(x) != size + 2:
        raise Miss("more than one row, or another number of them, is multiplied by each matrix")
    if x.shape is None or indices.shape is None or x.shape[: size - 1] != indices.shape[: size - 1]:
        raise Miss("rows and the matrices that are chosen for them do not correspond")
    if x.shape[size - 1] not in (1, indices.shape[size - 1]):
        raise Miss("rows and the matrices that are chosen for them do not correspond")
    b = Builder(node)
    name = unique_name(b.graph, f"{table.name}/side_by_side")
    weight = add_tensor(b.graph, SideBySide(table, side == 1, name))
    axis = b.constant(np.array([unit], np.int64))
    matrices = Matrices(table.shape.numpy()[0], weight)
    y = products(b, b.op("Squeeze", x, axis), matrices, indices)
    squeeze = sole_use(node.outputs[0], "Squeeze")
    if squeeze is not None and integers(operand(squeeze, 1)) in ([unit], [size + 2 + unit]):
        replace(squeeze, y)
    else:
        replace(node, b.op("Unsqueeze", y, axis))
    return True


RULES: Rules = {("", "MatMul"): _gathered}
