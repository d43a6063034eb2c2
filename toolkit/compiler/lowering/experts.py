"""Products whose matrix is chosen for each row: they wait for what is computed of their result."""

from functools import partial
from math import gcd

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN, attribute, is_constant, needed, rank
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.deferred import ChosenProduct, Deferred
from toolkit.compiler.lowering.dispatches import emit_map
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.products.chosen_products import emit_chosen
from toolkit.compiler.lowering.records.experts import tabled_experts
from toolkit.compiler.lowering.values import in_place, kept, shape_of, stored, view_of
from toolkit.compiler.views.poly import Poly, poly, product
from toolkit.compiler.views.scalar import Index
from toolkit.compiler.views.view import View, axes_of, in_memory, reshaped, shifted, size_of
from toolkit.compiler.weights.experts import TabledExperts


def lower_experts(b: PhaseBuilder, node: ir.Node) -> None:
    """y[.., t] = W[e] x[.., t] + bias[e] of the experts e that indices choose."""
    y = node.outputs[0]
    x, tokens, choices, shared = _rows_of_x(b, node)
    tabled = tabled_experts(b, node)
    told = (_indices_of(b, tabled), 0) if tabled else _indices(b, node, tokens, choices)
    indices, always = told
    chosen = ChosenProduct(node, x, indices, size_of(tokens), choices, shared, always)
    later = Deferred(b.floats_of(y), shape_of(b, y), chosen, partial(_multiply, b, chosen))
    b.views[y] = in_memory(later, later.shape)


def _multiply(b: PhaseBuilder, chosen: ChosenProduct) -> Location:
    """The product in memory of its own."""
    into = b.output(chosen.value)
    emit_chosen(b, chosen, into)
    return into


def _indices(b: PhaseBuilder, node: ir.Node, tokens: Poly, choices: int) -> tuple[Location, int]:
    """Indices in memory, and how many of the choices are always the last experts.

    They need no place there: the memory of the others is read as it is.
    """
    value, experts = needed(node, 2), int(attribute(node, "experts"))
    flat = reshaped(view_of(b, value), (tokens, poly(choices)))
    row, always = axes_of(flat.shape, ones=True)[0], 0
    while always < min(choices - 1, experts):
        column, last = poly(choices - 1 - always), Index(poly(experts - 1 - always))
        if flat.read([row, column]) != last:
            break
        always += 1
    told = in_place(shifted(flat, 1, poly(choices - always), poly(0))) if always else None
    return (stored(b, value), 0) if told is None else (told, always)


def _indices_of(b: PhaseBuilder, tabled: TabledExperts) -> Location:
    """Which experts rows choose, i32 [rows]: a gather reads it, and kernels; made once."""
    if tabled not in b.chosen:
        view = view_of(b, needed(tabled.network.first, 2))
        rows, name = product(view.shape), f"{tabled.name}.ids"
        flat = reshaped(view, (rows,))
        ref = b.temporary(name, "i32", [size_of(rows)])
        b.chosen[tabled] = Location(ref, "i32")
        emit_map(b, name, b.chosen[tabled], flat)
    return b.chosen[tabled]


def _rows_of_x(b: PhaseBuilder, node: ir.Node) -> tuple[Location, Poly, int, bool]:
    """x in memory, tokens, experts of each, and whether all of a token's read the same row.

    What repeats a row of x for each expert is one token, however its axes are written.
    """
    x, indices = needed(node, 0), shape_of(b, needed(node, 2))
    tokens, choices = product(indices[:-1]), indices[-1].number
    if choices is None:
        tokens, choices = product(indices), 1
    rows = product(shape_of(b, x)[:-1])
    if rows != tokens * choices:
        return stored(b, x), tokens, choices, True
    repeated = _repeated(view_of(b, x), rows)
    if repeated is None:
        return stored(b, x), tokens, choices, False
    once, times = repeated
    return kept(b, x.name or "x", once), once.shape[0], times, True


def _repeated(view: View, rows: Poly) -> tuple[View, int] | None:
    """The rows of a View that repeats each of them so many times, without the repetitions."""
    most = gcd(*(k for _, k in rows.terms))
    for times in (n for n in range(most, 1, -1) if most % n == 0):
        few = Poly.summed((monomial, k // times) for monomial, k in rows.terms)
        apart = reshaped(view, (few, poly(times), view.shape[-1]))
        row, repetition, column = axes_of(apart.shape, ones=True)
        if apart.read([row, repetition, column]) == apart.read([row, poly(0), column]):
            once = shifted(apart, 1, poly(1), poly(0))
            return reshaped(once, (few, view.shape[-1])), times
    return None


def check_experts(node: ir.Node, _: str) -> str | None:
    """Matrices must be constant."""
    weight = needed(node, 1)
    known = is_constant(weight) and rank(weight) == 2
    return None if known else "only products with constant matrices of experts have a kernel"


EXPERTS = (Lowering(DOMAIN, "Experts", lower_experts, check_experts),)
