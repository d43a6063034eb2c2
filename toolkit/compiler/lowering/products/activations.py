"""Products of two activations: how their operands lie, what they end with, and their dispatch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import onnx_ir as ir

from opencl_kernels.map.functions import FLOAT
from opencl_kernels.map.indexed import MAX_INPUTS
from opencl_kernels.matmul.batched import BatchedProduct
from opencl_kernels.matmul.epilogue import SUM
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.deferred import Deferred, Product, TiledProduct
from toolkit.compiler.lowering.dispatches import Reading, is_empty
from toolkit.compiler.lowering.products.epilogues import leads_only_to
from toolkit.compiler.lowering.products.strided import Matrices, matrices_of
from toolkit.compiler.views.poly import product
from toolkit.compiler.views.scalar import Load, Local, Scalar
from toolkit.compiler.views.view import View, axes_of, linear, reshaped, size_of
from toolkit.compiler.views.walks import loads, replaced, sources

V = Local(SUM)


def takes_tiles(b: PhaseBuilder, made: Product) -> bool:
    """Whether the kernel of tiles computes a product, or sums of their own do.

    Few rows leave most of a work-group's tile idle. On a CPU vectors run along them, so that only
    columns that lie in order, and would be turned for so few rows, are rather summed one by one.
    """
    device, rows, right = b.settings.device_class, made.left.shape[-2], matrices_of(made.right)
    if rows.number is None or rows.number > device.few_rows:
        return True
    return device.is_cpu and right is not None and right.column.number == 1


def emit_batched(
    b: PhaseBuilder,
    name: str,
    sides: tuple[Matrices, Matrices],
    into: Location,
    element: Scalar,
) -> None:
    """A dispatch; `element`: what is stored of the sum `v`, over all rows and the columns."""
    (*outer, K), N = sides[0].shape, sides[1].shape[-1]
    if is_empty([*outer, N]):
        return
    found = Reading(b, [*(side.load for side in sides), element])
    case = BatchedProduct(
        axes=tuple(map(size_of, (*outer, N, K))),
        left=sides[0].strided(found),
        right=sides[1].strided(found),
        epilogue="" if element == V else found.text(element),
        inputs=found.operands,
        y=into.dtype,
    )
    b.emit(name, "batched_gemm", case, {**found.refs, "y": into.ref})


def multiplied(b: PhaseBuilder, value: ir.Value, view: View) -> Location | None:
    """The memory of a value that a waiting product of activations fills at its end, if any does."""
    read = set(sources(view.read(axes_of(view.shape))))
    if view.kind != FLOAT or len(read) >= MAX_INPUTS:  # it has two inputs of its own
        return None
    for memory, made in _waiting(read):
        element = _ending(view, memory)
        if element is None or not leads_only_to(b, made.value, value):
            continue
        into = b.output(value, dtype=view.dtype)
        made.tiles(into, element)
        return into
    return None


def _waiting(read: Iterable[Any]) -> list[tuple[Deferred, TiledProduct]]:
    """The products of tiles that nobody has read, the last one first."""
    found = (each for each in read if isinstance(each, Deferred) and each.waits)
    waiting = [(each, each.of) for each in found if isinstance(each.of, TiledProduct)]
    return sorted(waiting, key=lambda each: -each[0].order)


def _ending(view: View, memory: Deferred) -> Scalar | None:
    """A View as what becomes of each sum; None if it reads other sums than its own."""
    shape = (product(memory.shape[:-1]), memory.shape[-1])
    try:
        flat = reshaped(view, shape)
    except ValueError:  # of another size, or its axes are no runs of rows and columns
        return None
    at = axes_of(shape, ones=True)
    element, own = flat.read(at), Load(memory, linear(at, shape))
    if any(load.source is memory and load != own for load in loads(element)):
        return None
    ended = replaced(element, own, V)
    return None if memory in sources(ended) else ended
