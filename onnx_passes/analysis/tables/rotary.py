"""Rotary tables: what cos and sin are computed from is evaluated, in float64, for every position.

The tables are stored as float32 [positions, pairs]; `sin` never runs on the device (drivers differ
in its accuracy).
"""

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.analysis.tables.regimes import chosen_by_length, first_rows, regimes
from onnx_passes.ir.edit import Builder, add_constant
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import constant, needed, producer
from onnx_passes.ir.rules import Miss

Tables = tuple[ir.Value, ir.Value]
Arrays = tuple[np.ndarray, np.ndarray]  # cos and sin


class Chosen(NamedTuple):
    """Rows of every position of the context; for texts of up to `switch` tokens, of others."""

    long: Arrays
    short: Arrays | None = None
    switch: int = 0


def computed_tables(
    model: ir.Model,
    b: Builder,
    cos: ir.Value,
    sin: ir.Value,
    width: int,
    interleaved: bool = False,
) -> Tables:
    """Tables [context, width / 2] for subgraphs that give [batch, seq, width (/ 2)].

    interleaved  an angle stands twice side by side; else the first half is repeated
    """

    def evaluate(context: int) -> Chosen:
        piece = Subgraph(model, [cos, sin], double=True)

        def rows(seq: int, past: int, padding: int) -> np.ndarray:
            found = piece.run(seq, past, padding)
            return np.concatenate([_rows(table, width, interleaved) for table in found], axis=-1)

        found = regimes(rows, context, [(3, 5, 0)])
        return Chosen(_halves(found.long), _halves(found.short), found.switch)

    return _once(model, b, cos, sin, evaluate)


def stored_tables(model: ir.Model, b: Builder, cos: ir.Value, sin: ir.Value) -> Tables:
    """The first `context` rows of tables that the exporter stored.

    Or of two such pairs, of which an If on the length chooses one (LongRoPE).
    """
    branch = producer(cos, "If")
    if branch is not None and producer(sin) is branch:
        return _once(model, b, cos, sin, partial(_of_branches, model, branch, (cos, sin)))
    return _once(model, b, cos, sin, partial(_stored, constant(cos), constant(sin)))


def _stored(cos: np.ndarray | None, sin: np.ndarray | None, context: int) -> Chosen:
    if cos is None or sin is None or cos.ndim != 2:
        raise Miss("its rotary tables are not constants of two dimensions")
    if len(cos) < context:
        raise Miss(
            f"its rotary tables end at {len(cos)} positions, before the context of {context}: "
            f"--max-context {len(cos)} fits"
        )
    return Chosen((cos[:context], sin[:context]))


def _of_branches(model: ir.Model, branch: ir.Node, pair: Tables, context: int) -> Chosen:
    piece = Subgraph(model, [needed(branch, 0)])

    def holds(total: int) -> bool:
        return bool(piece.run(1, total - 1)[0])

    def tables(end: int) -> Arrays:
        name = "then_branch" if holds(end) else "else_branch"
        cos, sin = _of_branch(branch, name, pair, end)
        return first_rows(cos, context), first_rows(sin, context)

    totals, last = range(1, context + 1), holds(context)
    switch = bisect_left(totals, True, key=lambda total: holds(total) == last)
    return Chosen(tables(context), tables(switch) if switch else None, switch)


def _of_branch(branch: ir.Node, name: str, pair: Tables, end: int) -> Arrays:
    """The tables that a branch gives, for texts of up to `end` tokens."""
    outputs = branch.attributes[name].as_graph().outputs
    cos, sin = (constant(outputs[value.index() or 0]) for value in pair)
    if cos is None or sin is None or cos.ndim != 2 or min(len(cos), len(sin)) < end:
        raise Miss(f"its rotary tables are no constants of {end} rows or more in both branches")
    return cos, sin


def check_positions(model: ir.Model, positions: ir.Value) -> None:
    """A Miss unless the value is past, past + 1 ... (or past alone: the first of them)."""
    known: set[ir.Value] = model.graph.meta.setdefault("pocket_positions", set())
    if positions in known:
        return
    piece = Subgraph(model, [positions])
    for seq, past in ((1, 0), (3, 5)):
        (found,) = piece.run(seq, past)
        if np.any(found.reshape(-1, found.shape[-1]) != np.arange(past, past + found.shape[-1])):
            raise Miss("its positions do not count the tokens")
    known.add(positions)


def _once(
    model: ir.Model, b: Builder, cos: ir.Value, sin: ir.Value, make: Callable[[int], Chosen]
) -> Tables:
    """All layers share the tables of one pair of values; `b` stands before the first of them."""
    cache: dict[Tables, Tables] = model.graph.meta.setdefault("pocket_rotary", {})
    if (cos, sin) not in cache:
        cache[cos, sin] = _emitted(model, b, make(Facts.of(model).context))
    return cache[cos, sin]


def _emitted(model: ir.Model, b: Builder, found: Chosen) -> Tables:
    cos, sin = _constants(model, found.long)
    if found.short is not None and found.switch:
        pairs = zip(_constants(model, found.short), (cos, sin), strict=True)
        cos, sin = (chosen_by_length(model, b, found.switch, *pair) for pair in pairs)
    return cos, sin


def _constants(model: ir.Model, arrays: Arrays) -> Tables:
    cos, sin = (
        add_constant(model.graph, array.astype(np.float32), f"rotary.{name}")
        for array, name in zip(arrays, ("cos", "sin"), strict=True)
    )
    return cos, sin


def _halves(table: np.ndarray) -> Arrays:
    cos, sin = np.split(table, 2, axis=-1)
    return cos, sin


def _rows(table: np.ndarray, width: int, interleaved: bool) -> np.ndarray:
    """[positions, width / 2] from [..., positions, width] with equal halves, or not repeated."""
    if table.ndim < 2 or table.shape[-1] not in (width, width // 2) or not table.size:
        raise Miss(f"its tables are {table.shape}, for heads of width {width}")
    planes = table.reshape(-1, *table.shape[-2:])
    if not (planes == planes[:1]).all():
        raise Miss("cos and sin differ between heads or sequences")
    if table.shape[-1] == width // 2:
        return np.asarray(planes[0])
    halves = np.split(planes[0], 2, axis=-1)
    first, second = (planes[0][:, i::2] for i in (0, 1)) if interleaved else halves
    if not np.array_equal(first, second):
        raise Miss("cos and sin do not repeat the same angles for both elements of a pair")
    return first
