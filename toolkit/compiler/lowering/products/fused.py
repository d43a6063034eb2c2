"""What is fused into a product: the norm before it; what follows it, see epilogues.py."""

from collections.abc import Callable, Iterator

import onnx_ir as ir
import sympy

from onnx_passes.ir.graph import DOMAIN, dim, is_constant, needed
from toolkit.compiler.lowering.builder import PendingNorm, PhaseBuilder


def products_take(b: PhaseBuilder, norm: ir.Node, pending: Callable[[], PendingNorm]) -> bool:
    """Leave a norm to all that reads it, where that is products of few rows; whether it is."""
    y = norm.outputs[-1] if norm.domain == DOMAIN else norm.outputs[0]
    same = list(_same_rows(y))
    nodes = [(use.node, value) for value in same for use in value.uses()]
    products = [(n, value) for n, value in nodes if not _keeps_rows(n)]
    if any(n in b.tabled for n, _ in products):  # kernels over records have no norm
        return False
    if any(value.is_graph_output() for value in same) or not has_all_rows(b, needed(norm, 0)):
        return False
    if not all(is_product(n) and n.inputs[0] is value for n, value in products):
        return False
    if not all(takes_norm(b, y, needed(n, 1)) for n, _ in products):
        return False
    b.norms |= dict.fromkeys(same, pending())
    b.done |= {n for n, _ in nodes if _keeps_rows(n)}
    return True


def _same_rows(value: ir.Value) -> Iterator[ir.Value]:
    """The value, and its rows in other shapes."""
    yield value
    for node in {use.node for use in value.uses()}:
        if _keeps_rows(node) and node.inputs[0] is value:
            yield from _same_rows(node.outputs[0])


def _keeps_rows(node: ir.Node) -> bool:
    """Whether a node gives the rows of what it reads another shape."""
    width = dim(node.inputs[0], -1)
    return node.op_type == "Reshape" and width is not None and width == dim(node.outputs[0], -1)


def takes_norm(b: PhaseBuilder, y: ir.Value, weight: ir.Value) -> bool:
    """Whether the product of `weight` with as many rows as `y` norms them itself.

    Each work-group does that to all of its rows: of more a norm is rather a dispatch of its own.
    """
    return are_few(b, b.rows(y), weight)


def few_rows(b: PhaseBuilder, y: ir.Value, weight: ir.Value) -> bool:
    """Whether the product of `weight` with as many rows as `y` is a GEMV."""
    rows = b.rows(y)
    shared = rows.is_Integer and int(rows) <= b.settings.device_class.shared_rows
    return bool(shared) or are_few(b, rows, weight)


def are_few(b: PhaseBuilder, rows: sympy.Expr, weight: ir.Value) -> bool:
    """Whether so many rows are rather multiplied one by one."""
    device_class = b.settings.device_class
    quantized = b.weights.stored(weight).bits
    most = device_class.few_rows_quantized if quantized else device_class.few_rows
    return bool(rows.is_Integer and int(rows) <= most)


def _views(value: ir.Value | None) -> Iterator[ir.Value]:
    """The value, and the values that it is the last rows of."""
    while value is not None:
        yield value
        node = value.producer()
        value = node.inputs[0] if node is not None and node.op_type == "LastRows" else None


def has_all_rows(b: PhaseBuilder, value: ir.Value) -> bool:
    """Whether a value that may be last rows has, in this phase, all rows of its source."""
    first = list(_views(value))[-1]
    return bool(b.rows(first) == b.rows(value))


def is_product(node: ir.Node | None) -> bool:
    """Whether a node is a matmul with a constant matrix."""
    if node is None or node.op_type not in ("MatMul", "Linear"):
        return False
    weight = needed(node, 1)
    return is_constant(weight) and weight.shape is not None and weight.shape.rank() == 2
