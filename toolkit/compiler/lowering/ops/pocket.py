"""The project's own ops where no kernel computes them: as their bodies in ops.txt say."""

from dataclasses import replace
from functools import partial

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN, attribute, needed
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.dispatches import emit_map
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.ops.counters import position
from toolkit.compiler.lowering.products.fused import has_all_rows
from toolkit.compiler.lowering.values import (
    give,
    settle,
    shape_of,
    symbol_of,
    view_of,
)
from toolkit.compiler.views.division import floordiv, remainder
from toolkit.compiler.views.poly import Poly, poly
from toolkit.compiler.views.scalar import Index, Scalar, number
from toolkit.compiler.views.simplify import apply, index_of
from toolkit.compiler.views.view import (
    At,
    Shape,
    View,
    elementwise,
    in_memory,
    linear,
    reshaped,
    shifted,
)


def lower_last_rows(b: PhaseBuilder, node: ir.Node) -> None:
    """The last rows: norms map theirs to memory that holds all, others read them through a View."""
    x, y = needed(node, 0), node.outputs[0]
    if not has_all_rows(b, y):
        settle(b, x)
    if x in b.locations:
        b.locations[y] = replace(b.locations[x], last_rows=True)
        return
    first = symbol_of(b, "seq") - symbol_of(b, "rows")
    give(b, y, [x], lambda view: shifted(view, 1, shape_of(b, y)[1], first))


def lower_split_heads(b: PhaseBuilder, node: ir.Node) -> None:
    """Heads of queries, keys and values that lie side by side."""
    x, first = needed(node, 0), poly(0)
    total = attribute(node, "heads") + 2 * attribute(node, "kv_heads")
    for y in node.outputs:
        shape = shape_of(b, y)
        whole = (*shape[:2], poly(total), shape[3])
        give(b, y, [x], partial(_some_heads, whole, first, shape[2]))
        first = first + shape[2]


def _some_heads(whole: Shape, first: Poly, count: Poly, x: View) -> View:
    """`count` heads of a value that has the shape `whole`, from `first` on."""
    return shifted(reshaped(x, whole), 2, count, first)


def lower_rope(b: PhaseBuilder, node: ir.Node) -> None:
    """Pairs of a head's elements turn by the angle of their position; the rest passes."""
    x, cos, sin = (needed(node, i) for i in range(3))
    half = shape_of(b, cos)[1].number
    assert half is not None
    turn = _interleaved if node.overload == "interleaved" else _halves

    def make(heads: View, c: View, s: View) -> View:
        def read(at: At) -> Scalar:
            row = index_of(position(b, at[0], at[1]), c.shape[0])
            return turn(heads, c, s, at, row, poly(half))

        return View(heads.shape, heads.dtype, read)

    give(b, node.outputs[0], [x, cos, sin], make)


def _halves(x: View, cos: View, sin: View, at: At, row: Poly, half: Poly) -> Scalar:
    """Element j turns with j + half."""
    d = at[3]

    def turned(j: Poly, other: Poly, op: str) -> Scalar:
        own = apply("Mul", x.read(at), cos.read([row, j]))
        return apply(op, own, apply("Mul", x.read([*at[:3], other]), sin.read([row, j])))

    second = apply("Where", _before(d, 2 * half), turned(d - half, d - half, "Add"), x.read(at))
    return apply("Where", _before(d, half), turned(d, d + half, "Sub"), second)


def _interleaved(x: View, cos: View, sin: View, at: At, row: Poly, half: Poly) -> Scalar:
    """Element 2j turns with 2j + 1."""
    d, odd = at[3], remainder(at[3], poly(2))
    j = floordiv(d, poly(2))
    own = apply("Mul", x.read(at), cos.read([row, j]))
    up = apply("Mul", x.read([*at[:3], d + 1]), sin.read([row, j]))
    down = apply("Mul", x.read([*at[:3], d - 1]), sin.read([row, j]))
    even = apply("Equal", Index(odd), number(0))
    turned = apply("Where", even, apply("Sub", own, up), apply("Add", own, down))
    return apply("Where", _before(d, 2 * half), turned, x.read(at))


def _before(d: Poly, size: Poly) -> Scalar:
    return apply("Less", Index(d), Index(size))


def lower_kv_write(b: PhaseBuilder, node: ir.Node) -> None:
    """New tokens [B,S,G,K] go to their slots of a state [B,G,C,K]; input and output are one."""
    state, new, written = needed(node, 0), needed(node, 1), node.outputs[0]
    b.locations[written] = b.location(state)
    shape, past = shape_of(b, state), symbol_of(b, "past")
    ring = bool(b.settings.context > (shape[2].number or 0))

    def into(at: At) -> Poly:
        batch, i, group, k = at
        slot = remainder(past + i, shape[2]) if ring else past + i
        return linear([batch, group, slot, k], shape)

    emit_map(b, written.name or "state", b.location(state), view_of(b, new), into)


def lower_kv_read(b: PhaseBuilder, node: ir.Node) -> None:
    """The slots 0 … past + seq - 1 of a state that is no ring."""
    state, y = needed(node, 0), node.outputs[0]
    whole = in_memory(b.location(state), shape_of(b, state))
    b.views[y] = View(shape_of(b, y), whole.dtype, whole.read)


def lower_glu(b: PhaseBuilder, node: ir.Node) -> None:
    """act(gate) * up."""
    x, y = needed(node, 0), node.outputs[0]
    width = shape_of(b, y)[-1]

    def make(both: View) -> View:
        axis = len(both.shape) - 1
        gate, up = (shifted(both, axis, width, first) for first in (poly(0), width))
        if node.overload == "relu":
            active = elementwise("Relu", [gate], both.dtype)
        else:
            sigmoid = elementwise("Sigmoid", [gate], both.dtype)
            active = elementwise("Mul", [gate, sigmoid], both.dtype)
        return elementwise("Mul", [active, up], both.dtype)

    give(b, y, [x], make)


def lower_above(b: PhaseBuilder, node: ir.Node) -> None:
    """1 where a score is above the threshold, or where there are several positions; else 0."""
    scores, y = needed(node, 0), node.outputs[0]
    limit = number(float(attribute(node, "threshold", 0.0)))
    many = apply("Greater", Index(shape_of(b, scores)[-2]), number(1))

    def make(x: View) -> View:
        def read(at: At) -> Scalar:
            kept = apply("Or", many, apply("Greater", x.read(at), limit))
            return apply("Where", kept, number(1.0), number(0.0))

        return View(x.shape, x.dtype, read)

    give(b, y, [scores], make)


_VIEWS = (
    Lowering(DOMAIN, "LastRows", lower_last_rows),
    Lowering(DOMAIN, "SplitHeads", lower_split_heads),
    Lowering(DOMAIN, "Rope", lower_rope),
    Lowering(DOMAIN, "KvRead", lower_kv_read),
    Lowering(DOMAIN, "Glu", lower_glu),
    Lowering(DOMAIN, "Above", lower_above),
)
POCKET = (
    *(replace(each, joins=True) for each in _VIEWS),
    Lowering(DOMAIN, "KvWrite", lower_kv_write),
)
