"""Mixtures: experts' products of few rows are weighed and summed where they are made."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce

import onnx_ir as ir

from onnx_passes.ir.graph import needed
from opencl_kernels.experts.chosen import Mix
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.deferred import ChosenProduct, Deferred, Softmax, Sum
from toolkit.compiler.lowering.dispatches import Reading
from toolkit.compiler.lowering.products.chosen_products import emit_chosen, takes_few
from toolkit.compiler.lowering.products.epilogues import leads_only_to
from toolkit.compiler.lowering.products.matrix_products import Ending
from toolkit.compiler.views.division import floordiv, remainder
from toolkit.compiler.views.poly import Axis, Poly, poly, product
from toolkit.compiler.views.scalar import Apply, Load, Scalar, number
from toolkit.compiler.views.simplify import apply
from toolkit.compiler.views.view import View, axes_of, linear, reshaped, size_of
from toolkit.compiler.views.walks import loads, replaced, sources

FEW = 8  # elements of a softmax that each gate computes anew
COLUMN = "column"  # the axis of a sum's columns, while its gates are looked for


@dataclass(frozen=True)
class Mixture:
    """A value that is the sum of what a token's experts make, each times its gate, and the rest."""

    product: ChosenProduct
    total: Sum
    gate: Scalar  # over i0, the token, and i1, the choice
    rest: Scalar  # over i0 and i1, the column


def mixed(b: PhaseBuilder, value: ir.Value, view: View) -> Location | None:
    """The memory of a value that experts of few rows fill, mixed; None if there is none."""
    found = _mixture(view)
    if found is None or not takes_few(b, found.product) or not _leads_only_to(b, found, value):
        return None
    reading = Reading(b, [found.gate, found.rest])
    mix = Mix(reading.text(found.gate), reading.text(found.rest))
    into = b.output(value, dtype=view.dtype)
    emit_chosen(b, found.product, into, Ending(inputs=reading.operands, refs=reading.refs), mix)
    return into


def experts_wait_for(view: View) -> bool:
    """Whether a View reads products of experts that wait."""
    return any(_of_experts(view.read(axes_of(view.shape))))


def _leads_only_to(b: PhaseBuilder, found: Mixture, value: ir.Value) -> bool:
    """Whether nobody needs an expert's products, or their sum, but for the value."""
    weighed, total = needed(found.total.node, 0), found.total.node.outputs[0]
    alone = len(weighed.uses()) == 1
    return (
        alone and leads_only_to(b, found.product.value, weighed) and leads_only_to(b, total, value)
    )


def _mixture(view: View) -> Mixture | None:
    element = view.read(axes_of(view.shape))
    for memory in dict.fromkeys(sources(element)):
        if isinstance(memory, Deferred) and isinstance(memory.of, Sum) and memory.waits:
            found = _of_sum(memory, memory.of, view)
            if found is not None:
                return found
    return None


def _of_sum(memory: Deferred, total: Sum, view: View) -> Mixture | None:
    """The value as a sum over experts [M, N] and a rest."""
    rows, columns = product(memory.shape[:-1]), memory.shape[-1]
    try:
        flat = reshaped(view, (rows, columns))
    except ValueError:  # of another size, or its axes are no runs of rows and columns
        return None
    row, column = axes_of(flat.shape, ones=True)
    summand = Load(memory, linear([row, column], flat.shape))
    rest = _beside("Add", flat.read([row, column]), summand, number(0.0))
    weighed = _weighed(total, rows, columns)
    if rest is None or weighed is None or memory in sources(rest):
        return None
    return Mixture(weighed[0], total, weighed[1], rest)


def _beside(op: str, element: Scalar, load: Load, neutral: Scalar) -> Scalar | None:
    """What a chain of `op` joins with a load, `neutral` if nothing; None if it is no such chain."""
    if element == load:
        return neutral
    if not isinstance(element, Apply) or element.op != op:
        return None
    one, other = element.operands
    for own, rest in ((one, other), (other, one)):
        left = _beside(op, own, load, neutral)
        if left is not None:
            return rest if left == neutral else apply(op, left, rest)
    return None


def _weighed(total: Sum, rows: Poly, columns: Poly) -> tuple[ChosenProduct, Scalar] | None:
    """The product whose rows are summed, and the gate of each."""
    choices = total.x.shape[-1]
    row, column, choice = (
        poly(0) if size.number == 1 else Poly.of(Axis(name, size))
        for name, size in (("i0", rows), (COLUMN, columns), ("i1", choices))
    )
    element = reshaped(total.x, (rows, columns, choices)).read([row, column, choice])
    for load in _of_experts(element):
        gate = _beside("Mul", element, load, number(1.0))
        at = linear([row, choice, column], (rows, choices, columns))
        made = _regrouped(load.source.of, rows, choices)
        if gate is None or load.at != at or made is None:
            continue
        gate = _softmax_inside(gate)
        if COLUMN not in gate.text(lambda _: "memory") and load.source not in sources(gate):
            return made, gate
    return None


def _regrouped(made: ChosenProduct, tokens: Poly, choices: Poly) -> ChosenProduct | None:
    """The product with its rows as so many tokens and choices."""
    if choices.number is None:
        return None
    grouped = replace(made, tokens=size_of(tokens), choices=choices.number)
    same = made.tokens * made.choices == grouped.tokens * grouped.choices
    return grouped if same and (grouped == made or not made.shared) else None


def _of_experts(element: Scalar) -> Iterator[Load]:
    for load in loads(element):
        memory = load.source
        if isinstance(memory, Deferred) and memory.waits and isinstance(memory.of, ChosenProduct):
            yield load


def _softmax_inside(gate: Scalar) -> Scalar:
    """The gate without the memory of softmaxes over few elements that wait: it computes them."""
    for load in list(loads(gate)):
        memory = load.source
        if isinstance(memory, Deferred) and isinstance(memory.of, Softmax) and memory.waits:
            inside = _softmax_at(memory.of.x, load.at)
            gate = gate if inside is None else replaced(gate, load, inside)
    return gate


def _softmax_at(x: View, place: Poly) -> Scalar | None:
    """An element of the softmax of a View over its last axis, by its place in memory."""
    size = x.shape[-1]
    if size.number is None or size.number > FEW:
        return None
    flat, row = reshaped(x, (product(x.shape[:-1]), size)), floordiv(place, size)
    every = [flat.read([row, poly(j)]) for j in range(size.number)]
    most = reduce(partial(apply, "Max"), every)
    raised = [apply("Exp", apply("Sub", each, most)) for each in every]
    own = apply("Exp", apply("Sub", flat.read([row, remainder(place, size)]), most))
    return apply("Div", own, reduce(partial(apply, "Add"), raised))
