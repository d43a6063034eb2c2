"""Dispatches of the families that take elements in order: scan, topk, scatter."""

from collections.abc import Callable

from opencl_kernels.rows.rows import Statistics
from opencl_kernels.scan.groups import Groups
from opencl_kernels.scan.scan import Scan
from opencl_kernels.scan.scatter import Scatter
from opencl_kernels.scan.topk import TopK
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.dispatches import Reading, is_empty, rows_read
from toolkit.compiler.views.poly import Poly
from toolkit.compiler.views.scalar import Index
from toolkit.compiler.views.view import At, View, axes_of, size_of


def emit_scan(
    b: PhaseBuilder,
    name: str,
    location: Location,
    view: View,
    op: str,
    exclusive: bool = False,
    reverse: bool = False,
) -> None:
    """A dispatch that joins elements of a View along its last axis, up to each."""
    if is_empty(view.shape):
        return
    sizes, found, (x,) = rows_read(b, view)
    case = Scan(
        axes=sizes,
        inputs=found.operands,
        x=x,
        op=op,
        exclusive=exclusive,
        reverse=reverse,
        y=location.dtype,
    )
    b.emit(name, "scan", case, {**found.refs, "y": location.ref})


def emit_topk(
    b: PhaseBuilder,
    name: str,
    values: Location,
    indices: Location,
    view: View,
    k: int,
    largest: bool = True,
    later: bool = False,
    by: Statistics | None = None,
    groups: Groups | None = None,
) -> None:
    """A dispatch that finds the first k elements along the last axis of a View, and their places.

    later  of equal elements the later one comes first
    by     the elements are what it makes of the View's
    groups  of a row, of which only the best keep their elements
    """
    if is_empty(view.shape):
        return
    sizes, found, (x,) = rows_read(b, view)
    case = TopK(
        axes=sizes,
        inputs=found.operands,
        x=x,
        k=k,
        largest=largest,
        later=later,
        by=by,
        groups=groups,
        y=values.dtype,
    )
    b.emit(name, "topk", case, {**found.refs, "y": values.ref, "indices": indices.ref})


def emit_scatter(
    b: PhaseBuilder,
    name: str,
    location: Location,
    updates: View,
    into: Callable[[At], Poly],
    serial: int,
    op: str,
) -> None:
    """A dispatch that lets every element of a View join the one of `location` at `into`.

    serial  so many of the last axes are taken in order: only along these may two elements meet
    """
    if is_empty(updates.shape):
        return
    at = axes_of(updates.shape, ones=True)
    element, place = updates.read(at), Index(into(at))
    found = Reading(b, [element, place])
    case = Scatter(
        axes=tuple(map(size_of, updates.shape)) or (1,),
        inputs=found.operands,
        serial=serial,
        value=found.text(element),
        into=found.text(place),
        elements=b.elements(location.ref),
        op=op,
        y=location.dtype,
    )
    b.emit(name, "scatter", case, {**found.refs, "y": location.ref})
