"""Norms, unless they are fused into a product."""

from functools import partial

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN, attribute, needed
from toolkit.compiler.lowering.builder import Memory, PendingNorm, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import Deferred, RowNorm
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.products.fused import products_take
from toolkit.compiler.lowering.products.row_norms import emit_rmsnorm, norm_case, sum_in_product
from toolkit.compiler.lowering.products.strided import row_part
from toolkit.compiler.lowering.values import (
    in_type,
    shape_of,
    storage_of,
    stored,
    taken_over,
    view_of,
)
from toolkit.compiler.views.view import View, elementwise, in_memory


def lower_rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    """y = norm(x)."""
    x = needed(node, 0)
    if x in b.views and _after_sum(b, node, x, b.views[x]):
        return
    part = row_part(b.views[x]) if x in b.views else None
    if part is None or not _products_take(b, node, part):
        _norm(b, node, stored(b, x, last_rows=True))


def _norm(b: PhaseBuilder, node: ir.Node, x: Memory) -> None:
    norm = RowNorm(node, x)
    if _products_take(b, node, x):
        return
    y = norm.value
    later = Deferred(b.floats_of(y), shape_of(b, y), norm, partial(emit_rmsnorm, b, norm, y))
    b.views[y] = in_memory(later, later.shape)


def _products_take(b: PhaseBuilder, node: ir.Node, x: Memory) -> bool:
    """Whether products begin with the norm of x."""
    gamma, eps = needed(node, len(node.inputs) - 1), attribute(node, "eps")
    return products_take(b, node, lambda: PendingNorm(x, gamma, eps))


def _after_sum(b: PhaseBuilder, node: ir.Node, x: ir.Value, view: View) -> bool:
    """Whether x is a sum that waits, for a product that begins with it and perhaps the norm."""
    waiting = sum_in_product(b, x, view)
    if waiting is None:
        return False
    b.views[x] = in_memory(waiting, view.shape)
    _norm(b, node, waiting)
    return True


def lower_add_rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    """sum = x + r, y = norm(sum); what one of both waits for may end with the sum."""
    summands = [view_of(b, needed(node, i)) for i in range(2)]
    total = elementwise("Add", summands, storage_of(b, node.outputs[0]))
    if _after_sum(b, node, node.outputs[0], total):
        return
    done = taken_over(b, node.outputs[0], total)
    if done is not None:
        _norm(b, node, done)
        return
    x, r = (stored(b, needed(node, i), last_rows=True) for i in range(2))
    if x.last_rows != r.last_rows:  # one lies alone in memory, so that the other must too
        x, r = (stored(b, needed(node, i)) for i in range(2))
    if {x.dtype, r.dtype} != {total.dtype}:  # the kernel reads both in the type of their sum
        x, r = (in_type(b, needed(node, i), total.dtype) for i in range(2))
    refs = {"x": x.ref, "r": r.ref, "gamma": b.weights.vector(needed(node, 2))}
    refs |= {name: b.output(v).ref for name, v in zip(("sum", "y"), node.outputs, strict=True)}
    b.emit(label(node), "add_rmsnorm", norm_case(b, RowNorm(node, x)), refs)


NORMS = (
    Lowering(DOMAIN, "RmsNorm", lower_rmsnorm),
    Lowering(DOMAIN, "AddRmsNorm", lower_add_rmsnorm),
)
