"""Rotary tables: what cos and sin are computed from is evaluated, in float64, for every position.

The tables are stored as float32 [positions, pairs]; `sin` never runs on the device (drivers differ
in its accuracy).
"""

from bisect import bisect_left
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.ir.edit import Builder, add_constant
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import constant, needed, producer
from onnx_passes.ir.rules import Miss

Tables = tuple[ir.Value, ir.Value]
Arrays = tuple[np.ndarray, np.ndarray]


def computed_tables(
    model: ir.Model, cos: ir.Value, sin: ir.Value, width: int, interleaved: bool = False
) -> Tables:
    """Initializers [context, width / 2] for subgraphs that give [batch, seq, width (/ 2)].

    interleaved  an angle stands twice side by side; else the first half is repeated
    """

    def evaluate(context: int) -> Arrays:
        piece = Subgraph(model, [cos, sin], double=True)

        def run(seq: int, past: int) -> Arrays:
            cos_rows, sin_rows = (
                _rows(table, width, interleaved) for table in piece.run(seq, past)
            )
            return cos_rows, sin_rows

        whole = run(context, 0)
        for seq, past in ((3, 5), (1, context - 1)):
            if past + seq <= context:
                _check_rows(whole, run(seq, past), past)
        return whole

    return _once(model, cos, sin, evaluate)


def stored_tables(model: ir.Model, cos: ir.Value, sin: ir.Value) -> Tables:
    """The first `context` rows of tables that the exporter stored."""

    def read(context: int) -> Arrays:
        arrays = constant(cos), constant(sin)
        if arrays[0] is None or arrays[1] is None or arrays[0].ndim != 2:
            raise Miss("its rotary tables are not constants of two dimensions")
        if len(arrays[0]) < context:
            rows = len(arrays[0])
            raise Miss(
                f"its rotary tables end at {rows} positions, before the context of {context}: "
                f"--max-context {rows} fits"
            )
        return arrays[0][:context], arrays[1][:context]

    return _once(model, cos, sin, read)


def gqa_tables(model: ir.Model, b: Builder, cos: ir.Value, sin: ir.Value) -> Tables:
    """Stored tables, or of two stored pairs the one that an If on the length chooses (longrope)."""
    branch = producer(cos, "If")
    if branch is None or producer(sin) is not branch:
        return stored_tables(model, cos, sin)
    known: dict[Tables, Tables] = model.graph.meta.setdefault("pocket_rotary", {})
    if (cos, sin) not in known:
        known[cos, sin] = _chosen_tables(model, b, branch, (cos, sin))
    return known[cos, sin]


def _chosen_tables(model: ir.Model, b: Builder, branch: ir.Node, pair: Tables) -> Tables:
    condition, context = needed(branch, 0), Facts.of(model).context
    piece = Subgraph(model, [condition])

    def holds(total: int) -> bool:
        return bool(piece.run(1, total - 1)[0])

    first, last = holds(1), holds(context)
    switch = bisect_left(range(1, context + 1), True, key=lambda total: holds(total) != first)
    ends = {first: switch, last: context}  # the longest text of each
    graphs = {True: "then_branch", False: "else_branch"}
    tables = {kind: _of_branch(branch, graphs[kind], pair, end) for kind, end in ends.items()}
    if len(tables) == 1:
        cos, sin = (b.constant(array[:context], "rotary") for array in tables[first])
        return cos, sin
    cos, sin = (
        b.op("Where", condition, *(b.constant(_rows_of(t, context), "rotary") for t in two))
        for two in zip(tables[True], tables[False], strict=True)
    )
    return cos, sin


def _of_branch(branch: ir.Node, name: str, pair: Tables, end: int) -> Arrays:
    """The tables that a branch gives, for texts of up to `end` tokens."""
    outputs = branch.attributes[name].as_graph().outputs
    cos, sin = (constant(outputs[value.index() or 0]) for value in pair)
    if cos is None or sin is None or cos.ndim != 2 or min(len(cos), len(sin)) < end:
        raise Miss(f"its rotary tables are no constants of {end} rows or more in both branches")
    return cos, sin


def _rows_of(table: np.ndarray, count: int) -> np.ndarray:
    """The first rows, and zeros for those that no text reads."""
    return np.pad(table[:count], [(0, max(0, count - len(table))), (0, 0)])


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


def _once(model: ir.Model, cos: ir.Value, sin: ir.Value, make: Callable[[int], Arrays]) -> Tables:
    """All layers share the tables of one pair of values."""
    cache: dict[Tables, Tables] = model.graph.meta.setdefault("pocket_rotary", {})
    if (cos, sin) not in cache:
        arrays = make(Facts.of(model).context)
        cache[cos, sin] = (
            add_constant(model.graph, arrays[0].astype(np.float32), "rotary.cos"),
            add_constant(model.graph, arrays[1].astype(np.float32), "rotary.sin"),
        )
    return cache[cos, sin]


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


def _check_rows(whole: Arrays, part: Arrays, past: int) -> None:
    for table, rows in zip(whole, part, strict=True):
        expected = table[past : past + len(rows)]
        if expected.shape != rows.shape or not np.allclose(expected, rows, rtol=0, atol=1e-9):
            raise Miss("the rotary angles depend on the length of the sequence (dynamic scaling)")
