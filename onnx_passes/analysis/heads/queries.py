"""The queries of an attention, found from the state that its keys are written to."""

from typing import NamedTuple

import onnx_ir as ir

from onnx_passes.analysis.attention import unscaled
from onnx_passes.analysis.heads.columns import is_step, path_to
from onnx_passes.ir.graph import DOMAIN, is_op, needed, rank
from onnx_passes.ir.rules import Miss

# Ops between a state and the product with its keys: they repeat, move or scale these.
_CARRY = ("KvRead", "Unsqueeze", "Squeeze", "Expand", "Reshape", "Transpose", "Cast")


class Queries(NamedTuple):
    """Queries [B, S, H, K], or [B, H, S, K] if `swapped`, at the end of the path to them."""

    path: list[ir.Value]
    swapped: bool


def queries_of(keys: ir.Value) -> Queries:
    """The queries that attend to written keys [B, G, C, K]."""
    uses = [(node, index) for node, index in keys.uses() if index == 1]
    attending = [n for n, _ in uses if (n.domain, n.op_type) == (DOMAIN, "Attention")]
    products = attending or _products(keys)
    if len(products) != 1:
        raise Miss(f"{len(products)} products of queries and keys read the keys, not one")
    if attending:
        return Queries(path_to(needed(products[0], 0)), swapped=False)
    return _last_heads(_unscaled_path(needed(products[0], 0)))


def _products(keys: ir.Value) -> list[ir.Node]:
    """The products whose second operand the keys are."""
    found, front = list[ir.Node](), [keys]
    while front:
        for node, index in front.pop().uses():
            if is_op(node, "MatMul") and index == 1:
                found.append(node)
            elif (is_op(node, *_CARRY) and index == 0) or _scales(node):
                front += node.outputs
    return found


def _scales(node: ir.Node) -> bool:
    return is_op(node, "Mul", "Div") and unscaled(node.outputs[0])[0] is not node.outputs[0]


def _unscaled_path(value: ir.Value) -> list[ir.Value]:
    """The path to what a value is but for factors, and for moves after them."""
    path = path_to(value)
    while (below := unscaled(path[0])[0]) is not path[0]:
        path = path_to(below)
    return path


def _last_heads(path: list[ir.Value]) -> Queries:
    """The path up to its last value that is heads of tokens, all norms and rotations included."""
    while path and not _is_heads(path[-1]) and not is_step(path[-1].producer()):
        path = path[:-1]
    if not path or not _is_heads(path[-1]):
        raise Miss("the queries are not heads of tokens")
    shape = path[-1].shape
    assert shape is not None
    return Queries(path, swapped=shape[1] != "seq")


def _is_heads(value: ir.Value) -> bool:
    return rank(value) == 4 and value.shape is not None and "seq" in value.shape[1:3]
