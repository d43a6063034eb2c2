"""Rows of a table that are looked up by how far a key is from a query, for every distance."""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.counted import counted
from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import attribute, is_constant, is_op, operand, rank
from onnx_passes.ir.rules import Miss

_SIZES = ((1, 0, 0), (3, 0, 0), (5, 4, 0), (1, 9, 0), (7, 12, 0))  # seq, past, padding
_PADDED = ((4, 6, 2), (6, 0, 3))


def distance_lookups(model: ir.Model) -> Iterator[ir.Node]:
    """Gathers of rows of a constant by an index [.., seq, past + seq] that counters give."""
    known = counted(model)
    for node in list(model.graph):
        if not is_op(node, "Gather") or attribute(node, "axis", 0) != 0:
            continue
        table, index = operand(node, 0), operand(node, 1)
        sizes = [] if index is None else [str(size) for size in index.shape or ()]
        by_pair = sizes[-2:] == ["seq", "past + seq"] and set(sizes[:-2]) <= {"1"}
        if is_constant(table) and rank(table) == 2 and index in known and by_pair:
            yield node


def by_distance(model: ir.Model, index: ir.Value) -> np.ndarray:
    """The index of a key by its place past the query's, from context - 1 before it to chunk - 1
    after it.

    Raises:
        Miss: it depends on more than the distance of the two.
    """
    facts, piece = Facts.of(model), Subgraph(model, [index])

    def plane(seq: int, past: int, padding: int = 0) -> np.ndarray:
        (found,) = piece.run(seq, past, padding)
        return np.broadcast_to(found, (*found.shape[:-2], seq, past + seq)).reshape(seq, -1)

    before, after = plane(1, facts.context - 1)[0], plane(facts.chunk, 0)[0, 1:]
    columns = np.concatenate([before, after])
    for seq, past, padding in (*_SIZES, *(_PADDED if piece.padded else ())):
        if past + seq > facts.context or seq > facts.chunk:
            continue
        i, j = past + np.arange(seq)[:, None], np.arange(past + seq)
        real = (i >= padding) & (j >= padding)
        expected = columns[facts.context - 1 + j - i]
        if not np.array_equal(plane(seq, past, padding)[real], expected[real]):
            raise Miss("it is looked up by more than how far a key is from a query")
    return columns
