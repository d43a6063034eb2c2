"""Values that follow from a token's position, as tables of every position of the context."""

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.counted import counted
from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.analysis.tables.regimes import Regimes, regimes
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import GraphError, dim, is_constant, is_op, operand
from onnx_passes.ir.rules import Miss

_LENGTHS = ((3, 5, 0), (1, 9, 0))  # seq, past, padding
_PADDED = ((4, 6, 2), (6, 0, 3))


def position_tables(model: ir.Model, value: ir.Value, batch: int) -> tuple[Regimes, bool]:
    """Tables [context, width] in float64, and whether positions begin after the padding.

    `value` has one dimension `seq`; the others, merged, are the width. With `batch` > 1 those of
    padded positions begin with the batch, which is no part of the width.

    Raises:
        Miss: the value does not follow from the position, as where angles change with every token
            that a text has more.
    """
    context, piece = Facts.of(model).context, Subgraph(model, [value], double=True)
    axis = [str(size) for size in value.shape or ()].index("seq")
    first_only = piece.padded and batch > 1

    def rows(seq: int, past: int, padding: int) -> np.ndarray:
        (found,) = piece.run(seq, past, padding)
        part = found[:1] if first_only else found
        return np.moveaxis(part, axis, 0).reshape(seq, -1)

    lengths = (*_LENGTHS, *(_PADDED if piece.padded and batch > 1 else ()))
    return regimes(rows, context, lengths), piece.padded


def check_lookups(model: ir.Model) -> None:
    """Refuse tables of positions that end before the context does.

    Raises:
        GraphError: naming the longest context that fits.
    """
    context, known = Facts.of(model).context, counted(model)
    for node in model.graph:
        table, index = operand(node, 0), operand(node, 1)
        rows = dim(table, 0) if is_op(node, "Gather") and is_constant(table) else None
        if rows is None or index is None or index not in known or "seq" not in (index.shape or ()):
            continue
        try:
            (found,) = Subgraph(model, [index]).run(context, 0)
        except Miss:
            continue
        beyond = int(found.max()) - rows + 1
        if beyond > 0:
            raise GraphError(
                f"the table {table.name if table else ''} has {rows} rows",
                f"a context of {context} tokens looks up {beyond} more",
                f"--max-context {context - beyond} fits",
            )
