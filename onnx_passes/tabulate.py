"""What depends on places alone becomes a table of positions, or a closed form of a mask.

Floats that follow from a token's position (sinusoids, angles scaled in whatever way, learned
positions with an offset) are computed here, in float64, for every position of the context, and
gathered: neither cos nor sin runs on the device. A table that is looked up by how far a key is from
a query (T5's relative positions, in buckets) gets a column for every distance. A mask of queries
and keys becomes `pocket.CausalMask`. All are known by evaluation at several lengths, with and
without padding.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.counted import last_counted
from onnx_passes.analysis.masks import causal_form, is_slot_mask
from onnx_passes.analysis.roles import roles_of
from onnx_passes.analysis.tables.distances import by_distance, distance_lookups
from onnx_passes.analysis.tables.positions import check_lookups, position_tables
from onnx_passes.analysis.tables.regimes import chosen_by_length
from onnx_passes.analysis.uses import slots
from onnx_passes.count_inputs import CLOSED
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import places
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import (
    DOMAIN,
    constant,
    is_constant,
    is_op,
    needed,
    operand,
    producer,
    rank,
)
from onnx_passes.ir.rules import Miss, Outcome, attempt

Rule = Callable[[ir.Model, ir.Value], bool]


def tabulate(model: ir.Model) -> Outcome:
    """Replace all of them, where something else than places has a part in what reads them."""
    check_lookups(model)
    sites = [(node, partial(_to_distances, model, node)) for node in distance_lookups(model)]
    for value in last_counted(model):
        node, rule = value.producer(), _rule(value)
        if node is not None and rule is not None:
            sites.append((node, partial(rule, model, value)))
    return attempt(sites)


def _rule(value: ir.Value) -> Rule | None:
    """How to replace a mask, or floats of fixed shape for each token; None where that is done."""
    node, sizes = value.producer(), [str(size) for size in value.shape or ()]
    if node is None or value.dtype is None or len(node.outputs) != 1:
        return None
    if sizes[-2:] == ["seq", "past + seq"]:
        return None if _is_mask(node) else _to_mask
    symbols = [size for size in value.shape or () if not isinstance(size, int)]
    fits = symbols == ["seq"] and value.dtype.is_floating_point()
    return _to_table if fits and not _is_lookup(node) else None


def _is_mask(node: ir.Node) -> bool:
    """A CausalMask, also with other values or other dimensions of size 1."""
    while is_op(node, "Where", "Not", "Squeeze", "Unsqueeze"):
        below = producer(operand(node, 0))
        if below is None:
            return False
        node = below
    return is_op(node, "CausalMask")


def _is_lookup(node: ir.Node) -> bool:
    """A Gather of a constant by positions, or of two of which the length chooses one."""
    if is_op(node, "Where"):
        table = producer(operand(node, 1))
        return table is not None and _is_lookup(table)
    places = producer(operand(node, 1), "Positions")
    return is_op(node, "Gather") and is_constant(operand(node, 0)) and places is not None


def _to_table(model: ir.Model, value: ir.Value) -> bool:
    node, batch = value.producer(), Facts.of(model).batch
    sizes = [size if isinstance(size, int) else -1 for size in value.shape or ()]
    if sizes[-1] == slots(model.graph) and is_slot_mask(model, value):
        raise Miss("it is a mask of a cache's slots: comparing places is less than such a table")
    tables, padded = position_tables(model, value, batch)
    assert node is not None
    b = Builder(node)
    begins = 1 if padded and batch > 1 else 0  # the batch, which positions bring along
    if begins and sizes[0] != batch:
        raise Miss("it does not begin with the batch, but depends on its padding")
    positions = b.op("Positions", *places(model, b, roles_of(model).tokens, padded), domain=DOMAIN)
    kind = (value.dtype or ir.DataType.FLOAT).numpy()

    def looked_up(table: np.ndarray) -> ir.Value:
        return b.op("Gather", b.constant(table.astype(kind)), positions, axis=0)

    rows = looked_up(tables.long)
    if tables.switch:
        rows = chosen_by_length(model, b, tables.switch, looked_up(tables.short), rows)
    replace(node, _shaped(b, rows, sizes, begins))
    return True


def _to_distances(model: ir.Model, node: ir.Node) -> bool:
    """table[index] [.., seq, past + seq, width] by columns of every distance, -context < j - i."""
    table, index = constant(operand(node, 0)), needed(node, 1)
    assert table is not None
    columns = by_distance(model, index)
    b, (x, past, _) = Builder(node), places(model, Builder(node), roles_of(model).tokens, False)
    first = b.constant(np.array(Facts.of(model).context - 1))
    place = b.op("Sub", first, b.op("Distances", x, past, domain=DOMAIN))
    looked_up = b.op("Gather", b.constant(table[columns].T.copy()), place, axis=1)
    y = b.op("Transpose", looked_up, perm=[1, 2, 0])
    more = (rank(index) or 2) - 2
    replace(node, b.op("Unsqueeze", y, b.target(*range(more))) if more else y)
    return True


def _shaped(b: Builder, rows: ir.Value, sizes: list[int], begins: int) -> ir.Value:
    """Rows [batch, seq, width] with the dimensions `sizes`, -1 being `seq`; `begins` with batch."""
    axis, order = sizes.index(-1), list(range(len(sizes)))
    if all(sizes[i] == 1 for i in order[begins:axis]):
        return b.op("Reshape", rows, b.target(*sizes))
    by_token = [*order[:begins], axis, *order[begins:axis], *order[axis + 1 :]]
    y = b.op("Reshape", rows, b.target(*(sizes[i] for i in by_token)))
    return b.op("Transpose", y, perm=[by_token.index(i) for i in order])


def _to_mask(model: ir.Model, value: ir.Value) -> bool:
    form, node = causal_form(model, value), value.producer()
    outer = list(value.shape or ())[:-2]
    batch = outer[0] if outer else 1
    fits = batch == (Facts.of(model).batch if form.padded else batch)
    if not isinstance(batch, int) or not fits or any(size != 1 for size in outer[1:]):
        raise Miss(f"it is a mask of the shape {value.shape}")
    assert node is not None and value.dtype is not None
    b = Builder(node)
    counts = places(model, b, roles_of(model).tokens, form.padded, batch)
    y = b.op("CausalMask", *counts, domain=DOMAIN, window=form.window)
    if len(outer) < 2:
        y = b.op("Squeeze", y, b.target(*range(len(outer), 2)))
    if len(outer) > 2:
        y = b.op("Unsqueeze", y, b.target(*range(2, len(outer))))
    if value.dtype != ir.DataType.BOOL:
        kind = value.dtype.numpy()
        hidden = max(form.hidden, CLOSED) if value.dtype.is_floating_point() else form.hidden
        y = b.op("Where", y, *(b.constant(np.array(x, kind)) for x in (form.seen, hidden)))
    elif not form.seen:
        y = b.op("Not", y)
    replace(node, y)
    return True
