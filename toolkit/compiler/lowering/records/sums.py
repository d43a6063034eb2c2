"""Partial sums of a network that wait: what adds them up adds a residual with them."""

from functools import partial

import onnx_ir as ir
import sympy

from opencl_kernels.records.add_parts import Parts
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.deferred import Deferred, PartialSums
from toolkit.compiler.lowering.products.epilogues import leads_only_to
from toolkit.compiler.views.poly import product
from toolkit.compiler.views.scalar import Apply, Load, Scalar
from toolkit.compiler.views.view import Shape, View, axes_of, linear


def waiting_sums(b: PhaseBuilder, sums: PartialSums, shape: Shape) -> Deferred:
    """The memory of a network's result, added up when it is read."""
    value = sums.value
    return Deferred(b.floats_of(value), shape, sums, partial(_add, b, sums, value))


def added(b: PhaseBuilder, value: ir.Value, view: View) -> Location | None:
    """The memory of a value that is such a sum plus a residual; None if it is none."""
    element = view.read(axes_of(view.shape))
    parts = element.operands if isinstance(element, Apply) and element.op == "Add" else ()
    for own, other in zip(parts, parts[::-1], strict=True):
        sums = _waiting(own, view)
        if sums is None or not _lies_as(other, view) or not leads_only_to(b, sums.value, value):
            continue
        assert isinstance(other, Load)
        residual = Location(other.source.ref, other.source.dtype)
        return _add(b, sums, value, view.dtype, residual)
    return None


def _add(
    b: PhaseBuilder,
    sums: PartialSums,
    value: ir.Value,
    dtype: str = "",
    residual: Location | None = None,
) -> Location:
    """A dispatch that makes a value of the sums, and a residual if there is one; its memory."""
    into = b.output(value, dtype=dtype)
    dims = b.dims(sums.value)
    case = Parts(
        M=sympy.sympify(sympy.prod(dims[:-1])),
        D=int(dims[-1]),
        G=sums.count,
        x="f32" if residual is None else residual.dtype,
        y=into.dtype,
        residual=residual is not None,
        bias=sums.bias is not None,
    )
    given = {"r": None if residual is None else residual.ref, "bias": sums.bias}
    refs = {name: ref for name, ref in given.items() if ref is not None}
    name = (value.name or sums.value.name or "sum").strip("/")
    b.emit(name, "add_parts", case, {"part": sums.part, **refs, "y": into.ref})
    return into


def _lies_as(element: Scalar, view: View) -> bool:
    return isinstance(element, Load) and element.at == linear(axes_of(view.shape), view.shape)


def _waiting(element: Scalar, view: View) -> PartialSums | None:
    """The sums, not yet added up, all of which the View reads in order."""
    if not isinstance(element, Load) or not _lies_as(element, view):
        return None
    memory = element.source
    if not isinstance(memory, Deferred) or not memory.waits:
        return None
    same = product(memory.shape) == product(view.shape)
    return memory.of if same and isinstance(memory.of, PartialSums) else None
