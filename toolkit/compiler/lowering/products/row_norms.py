"""RMSNorms that wait: a residual sum that follows one is computed in the same dispatch.

That is a dispatch of the norm; or the product that is the first to read the sum, of few rows,
begins with both. Such a product also begins with a norm that others read with it, and stores it.
"""

from dataclasses import replace
from functools import partial
from typing import TypeGuard

import onnx_ir as ir

from onnx_passes.ir.graph import dim, needed
from opencl_kernels.norm.rmsnorm import Rows
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import Deferred, NormedSum, RowNorm
from toolkit.compiler.lowering.products.epilogues import leads_only_to
from toolkit.compiler.lowering.products.fused import has_all_rows
from toolkit.compiler.views.poly import product
from toolkit.compiler.views.scalar import Apply, Load, Scalar
from toolkit.compiler.views.view import View, axes_of, linear


def norm_case(b: PhaseBuilder, norm: RowNorm) -> Rows:
    """A norm of the rows of its x."""
    x, y = norm.x, norm.value
    last_rows = isinstance(x, Location) and x.last_rows
    return Rows(
        B=b.settings.batch if last_rows else 1,
        M=b.rows(y),
        D=int(b.dims(y)[-1]),
        EPS=norm.eps,
        x=x.dtype,
        y=b.float_type(y),
        last_rows=last_rows,
    )


def emit_rmsnorm(
    b: PhaseBuilder,
    norm: RowNorm,
    value: ir.Value,
    dtype: str = "",
    residual: Location | None = None,
) -> Location:
    """A dispatch that makes a value: norm(x), plus a residual if there is one; its memory."""
    refs = {"x": norm.x.ref, "gamma": b.weights.vector(norm.gamma)}
    into = b.output(value, dtype=dtype)
    case = replace(norm_case(b, norm), y=into.dtype, residual=residual is not None)
    if residual is not None:
        refs["r"] = residual.ref
    b.emit(label(norm.node), "rmsnorm", case, {**refs, "y": into.ref})
    return into


def summed(b: PhaseBuilder, value: ir.Value, view: View) -> Location | None:
    """The memory of a value that is a norm which waits plus a residual; None if it is none."""
    found = _normed_sum(b, value, view)
    if found is None:
        return None
    return emit_rmsnorm(b, found.norm, value, view.dtype, found.stream)


def sum_in_product(b: PhaseBuilder, value: ir.Value, view: View) -> Deferred | None:
    """The memory of such a sum, left to the first product that reads it; None if it is none.

    The rows that are normed must be those of the View, which the product reads.
    """
    element = view.read(axes_of(view.shape))
    waiting = _waiting(element, view)
    if waiting is not None and isinstance(waiting.of, NormedSum):
        return waiting if waiting.shape[-1] == view.shape[-1] else None
    found = None if value.is_graph_output() else _normed_sum(b, value, view)
    if found is None or found.norm.x.dtype != view.dtype:
        return None
    if dim(found.norm.value, -1) != view.shape[-1].number:
        return None
    fill = partial(emit_rmsnorm, b, found.norm, value, view.dtype, found.stream)
    return Deferred(view.dtype, view.shape, found, fill)


def norm_in_product(b: PhaseBuilder, view: View) -> Deferred | None:
    """The memory of a norm that waits, left to the first product that reads it; None if not so.

    Others need it too, such as experts behind their router, or the product would have no memory
    of it (products_take).
    """
    memory = _waiting(view.read(axes_of(view.shape)), view)
    if memory is None or not isinstance(memory.of, RowNorm):
        return None
    same = memory.dtype == memory.of.x.dtype and memory.shape[-1] == view.shape[-1]
    return memory if same and has_all_rows(b, needed(memory.of.node, 0)) else None


def _normed_sum(b: PhaseBuilder, value: ir.Value, view: View) -> NormedSum | None:
    """A norm that waits, and what is added to it."""
    element = view.read(axes_of(view.shape))
    parts = element.operands if isinstance(element, Apply) and element.op == "Add" else ()
    for own, other in zip(parts, parts[::-1], strict=True):
        memory = _waiting(own, view)
        if memory is None or not isinstance(memory.of, RowNorm) or not _lies_as(other, view):
            continue
        same = other.source.dtype == memory.of.x.dtype
        if same and leads_only_to(b, memory.of.value, value):
            stream = Location(other.source.ref, other.source.dtype)
            return NormedSum(value, memory.of, stream)
    return None


def _lies_as(element: Scalar, view: View) -> TypeGuard[Load]:
    """Whether an element of a View is that of memory in the same order."""
    return isinstance(element, Load) and element.at == linear(axes_of(view.shape), view.shape)


def _waiting(element: Scalar, view: View) -> Deferred | None:
    """The memory, not yet filled, all of which the View reads in order."""
    memory = element.source if _lies_as(element, view) else None
    if not isinstance(memory, Deferred) or not memory.waits:
        return None
    return memory if product(memory.shape) == product(view.shape) else None
