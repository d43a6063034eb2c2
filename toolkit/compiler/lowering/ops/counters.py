"""Functions of the counters: positions, masks and sizes are polynomials, stored nowhere."""

from dataclasses import replace
from functools import partial

import onnx_ir as ir

from onnx_passes.ir.graph import COUNTED, DOMAIN, TEXT_LENGTH, attribute, constant, needed
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.values import give, shape_of, storage_of, symbol_of, view_of
from toolkit.compiler.views.poly import Poly
from toolkit.compiler.views.scalar import Index, Scalar, Start, number
from toolkit.compiler.views.simplify import apply
from toolkit.compiler.views.view import At, View, expanded


def bind_counters(b: PhaseBuilder, graph: ir.Graph) -> None:
    """The inputs past, start, rows and text_length are symbols of the plan."""
    for value in graph.inputs:
        if value.name == "start":
            b.views[value] = View(shape_of(b, value), "i64", lambda at: Start(at[0]))
        elif value.name in COUNTED:
            counter = symbol_of(b, value.name or "")
            b.views[value] = View(shape_of(b, value), "i64", partial(_same, Index(counter)))


def _same(value: Scalar, _: At) -> Scalar:
    return value


def position(b: PhaseBuilder, batch: Poly, i: Poly) -> Scalar:
    """max(0, past + i - start[batch]) of new token i."""
    return _after(Start(batch), symbol_of(b, "past") + i)


def _after(start: Scalar, place: Poly) -> Scalar:
    return apply("Max", apply("Sub", Index(place), start), number(0))


def _start_of(b: PhaseBuilder, node: ir.Node, batch: Poly) -> Scalar:
    """Where a text starts to an op that counts: at 0 where padding counts, too."""
    start = constant(needed(node, 2))
    if start is not None and not start.any():
        return number(0)
    return view_of(b, needed(node, 2)).read([batch])


def lower_positions(b: PhaseBuilder, node: ir.Node) -> None:
    """The positions of new tokens [B, S]."""
    y, past = node.outputs[0], symbol_of(b, "past")
    b.views[y] = View(
        shape_of(b, y), "i64", lambda at: _after(_start_of(b, node, at[0]), past + at[1])
    )


def lower_key_positions(b: PhaseBuilder, node: ir.Node) -> None:
    """The positions of all tokens so far [B, P+S]."""
    y = node.outputs[0]
    b.views[y] = View(shape_of(b, y), "i64", lambda at: _after(_start_of(b, node, at[0]), at[1]))


def lower_distances(b: PhaseBuilder, node: ir.Node) -> None:
    """past + i - j of new token i and key j [S, P+S]."""
    y, past = node.outputs[0], symbol_of(b, "past")
    b.views[y] = View(shape_of(b, y), "i64", lambda at: Index(past + at[0] - at[1]))


def lower_extent(b: PhaseBuilder, node: ir.Node) -> None:
    """a past + b seq + c."""
    y = node.outputs[0]
    past, seq = (
        symbol_of(b, name) * attribute(node, factor)
        for name, factor in (("past", "a"), ("seq", "b"))
    )
    b.views[y] = View(
        shape_of(b, y), "i64", partial(_same, Index(past + seq + attribute(node, "c")))
    )


def lower_text_length(b: PhaseBuilder, node: ir.Node) -> None:
    """max(past + seq, text_length)."""
    y = node.outputs[0]
    so_far, whole = symbol_of(b, "past") + symbol_of(b, "seq"), symbol_of(b, TEXT_LENGTH)
    b.views[y] = View(
        shape_of(b, y), "i64", partial(_same, apply("Max", Index(so_far), Index(whole)))
    )


def lower_spread(b: PhaseBuilder, node: ir.Node) -> None:
    """A value repeated to a shape of sizes and counters."""
    y = node.outputs[0]
    give(b, y, [needed(node, 0)], lambda view: expanded(view, shape_of(b, y)))


def _is_real(b: PhaseBuilder, node: ir.Node, key: Poly, batch: Poly) -> Scalar:
    return apply("GreaterOrEqual", Index(key), _start_of(b, node, batch))


def lower_padding_mask(b: PhaseBuilder, node: ir.Node) -> None:
    """Whether key j of a text is no padding [B, P+S]."""
    y = node.outputs[0]
    b.views[y] = View(shape_of(b, y), storage_of(b, y), lambda at: _is_real(b, node, at[1], at[0]))


def lower_causal_mask(b: PhaseBuilder, node: ir.Node) -> None:
    """Which keys each token sees [B, 1, S, P+S]."""
    y, window = node.outputs[0], attribute(node, "window")

    def read(at: At) -> Scalar:
        batch, _, i, j = at
        own = symbol_of(b, "past") + i
        seen = apply("LessOrEqual", Index(j), Index(own))
        if window < b.settings.context:
            seen = apply("And", seen, apply("Greater", Index(j), Index(own - window)))
        return apply("And", seen, _is_real(b, node, j, batch))

    b.views[y] = View(shape_of(b, y), storage_of(b, y), read)


OF_COUNTERS = tuple(
    replace(Lowering(DOMAIN, name, emit), joins=True)
    for name, emit in (
        ("Positions", lower_positions),
        ("KeyPositions", lower_key_positions),
        ("Distances", lower_distances),
        ("Extent", lower_extent),
        ("TextLength", lower_text_length),
        ("Spread", lower_spread),
        ("PaddingMask", lower_padding_mask),
        ("CausalMask", lower_causal_mask),
    )
)
