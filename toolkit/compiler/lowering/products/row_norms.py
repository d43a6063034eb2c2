"""RMSNorms that wait: a residual sum that follows one is computed in the same dispatch."""

from dataclasses import replace

import onnx_ir as ir

from onnx_passes.ir.graph import attribute
from opencl_kernels.norm.rmsnorm import Rows
from toolkit.compiler.lowering.builder import Location, PhaseBuilder, label
from toolkit.compiler.lowering.deferred import Deferred, RowNorm
from toolkit.compiler.lowering.products.epilogues import leads_only_to
from toolkit.compiler.views.poly import product
from toolkit.compiler.views.scalar import Apply, Load
from toolkit.compiler.views.view import View, axes_of, linear


def norm_case(b: PhaseBuilder, node: ir.Node, x: Location) -> Rows:
    """A norm of the rows of x."""
    y = node.outputs[-1]
    return Rows(
        B=b.settings.batch if x.last_rows else 1,
        M=b.rows(y),
        D=int(b.dims(y)[-1]),
        EPS=attribute(node, "eps"),
        x=x.dtype,
        y=b.settings.activations,
        last_rows=x.last_rows,
    )


def emit_rmsnorm(
    b: PhaseBuilder, norm: RowNorm, into: Location, residual: Location | None = None
) -> None:
    """A dispatch: y = norm(x), plus a residual if there is one."""
    case = replace(norm_case(b, norm.node, norm.x), y=into.dtype, residual=residual is not None)
    refs = {"x": norm.x.ref, "gamma": b.weights.vector(norm.gamma), "y": into.ref}
    if residual is not None:
        refs["r"] = residual.ref
    b.emit(label(norm.node), "rmsnorm", case, refs)


def summed(b: PhaseBuilder, value: ir.Value, view: View) -> Location | None:
    """The memory of a value that is a norm which waits plus a residual; None if it is none."""
    pair = _summands(view)
    for own, other in zip(pair, pair[::-1], strict=True):
        norm = _waiting(own, view)
        if norm is None or other.source.dtype != norm.x.dtype:
            continue
        if leads_only_to(b, norm.value, value):
            into = b.output(value, dtype=view.dtype)
            emit_rmsnorm(b, norm, into, Location(other.source.ref, other.source.dtype))
            return into
    return None


def _summands(view: View) -> list[Load]:
    """The two that a View adds, where both lie in memory as it does; else none."""
    axes = axes_of(view.shape)
    element, place = view.read(axes), linear(axes, view.shape)
    parts = element.operands if isinstance(element, Apply) and element.op == "Add" else ()
    found = [part for part in parts if isinstance(part, Load) and part.at == place]
    return found if len(found) == 2 else []


def _waiting(load: Load, view: View) -> RowNorm | None:
    """The norm that will fill the memory, all of which the View reads."""
    memory = load.source
    if not isinstance(memory, Deferred) or not isinstance(memory.of, RowNorm) or not memory.waits:
        return None
    return memory.of if product(memory.shape) == product(view.shape) else None
