"""x * cos + rotate_half(x) * sin, or an exporter's RotaryEmbedding  ->  pocket.Rope, token-major.

`pocket.Rope` works on [batch, seq, heads, width] with stored tables; the transposes around it
cancel later. (Su et al. 2021, eq. 34)
"""

import onnx_ir as ir

from onnx_passes.analysis.heads.rotate_half import partly_rotated, rotation
from onnx_passes.analysis.tables.rotary import (
    Tables,
    check_positions,
    computed_tables,
    stored_tables,
)
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import rope, rope_by_token
from onnx_passes.ir.graph import attribute, check_attributes, dim, needed, operand, rank, through
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply

# Of both ops. How much of a head is rotated follows from the width of the tables.
# Which pairs turn by time, height or width says nothing where a text has one position for all.
_ATTRIBUTES = (
    *("interleaved", "num_heads", "rotary_embedding_dim"),
    *("mrope_section", "mrope_layout"),
)


def fuse_rope(model: ir.Model) -> Outcome:
    """Replace every rotary embedding."""
    return apply(model, RULES)


def _spelled(model: ir.Model, node: ir.Node) -> bool:
    found = rotation(node)
    if found is None:
        return False
    x, cos, sin, interleaved = found
    width = dim(x, 3)
    if x.shape is None or x.shape.rank() != 4 or width is None or "seq" not in x.shape[1:3]:
        raise Miss("the rotated value is not [batch, heads, seq, width]")
    angles = _unbroadcast(cos), _unbroadcast(sin)
    b = Builder(node)
    tables = computed_tables(model, b, *angles, width, interleaved)
    emit = rope if x.shape[2] == "seq" else rope_by_token
    whole, end = partly_rotated(x, node)
    replace(end, emit(model, b, whole, tables, interleaved))
    return True


def _unbroadcast(value: ir.Value) -> ir.Value:
    """The [batch, seq, width] below the Unsqueeze that broadcasts it over heads."""
    found = through(value, "Unsqueeze")
    assert found is not None
    return found


def _fused(model: ir.Model, node: ir.Node) -> bool:
    """ONNX's RotaryEmbedding (x, cos, sin, at?), Microsoft's and its MRotary (x, at, cos, sin)."""
    x, b = needed(node, 0), Builder(node)
    check_attributes(node, _ATTRIBUTES, scale=1.0, is_packed_batching=0)
    if node.domain == "com.microsoft":
        check_positions(model, needed(node, 1))
        tables = stored_tables(model, b, needed(node, 2), needed(node, 3))
    elif operand(node, 3) is not None:
        check_positions(model, needed(node, 3))
        tables = stored_tables(model, b, needed(node, 1), needed(node, 2))
    else:
        cos, sin = needed(node, 1), needed(node, 2)
        pairs = dim(cos, -1)
        if pairs is None:
            raise Miss("the width of its tables is unknown")
        tables = computed_tables(model, b, cos, sin, 2 * pairs)
    whole, end = partly_rotated(x, node) if rank(x) == 4 else (x, node)
    replace(end, _by_rank(model, b, node, whole, tables))
    return True


def _heads_of(node: ir.Node, x: ir.Value, tables: Tables) -> int:
    """As many as rows of the tables fit into x: so Microsoft's op counts where nothing is said."""
    width, pairs = dim(x, -1), dim(tables[0], -1)
    if node.domain != "com.microsoft" or not width or not pairs or width % (2 * pairs):
        raise Miss("x has rank 3 and num_heads is not given")
    return width // (2 * pairs)


def _by_rank(model: ir.Model, b: Builder, node: ir.Node, x: ir.Value, tables: Tables) -> ir.Value:
    interleaved = bool(attribute(node, "interleaved", 0))
    if rank(x) == 4:
        return rope(model, b, x, tables, interleaved)
    heads = attribute(node, "num_heads", 0) or _heads_of(node, x, tables)
    split = b.op("Reshape", x, b.target(0, 0, heads, -1))
    return b.op("Reshape", rope_by_token(model, b, split, tables, interleaved), b.target(0, 0, -1))


RULES: Rules = {
    ("", "Add"): _spelled,
    ("", "Concat"): _spelled,
    ("", "RotaryEmbedding"): _fused,
    ("com.microsoft", "RotaryEmbedding"): _fused,
    ("com.microsoft", "MRotaryEmbedding"): _fused,
}
