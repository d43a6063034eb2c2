"""x * cos + rotate_half(x) * sin, or an exporter's RotaryEmbedding  ->  pocket.Rope, token-major.

`pocket.Rope` works on [batch, seq, heads, width] with stored tables; the transposes around it
cancel later. (Su et al. 2021, eq. 34)
"""

import onnx_ir as ir

from onnx_passes.analysis.rotary import Tables, check_positions, computed_tables, stored_tables
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import rope, rope_by_token
from onnx_passes.ir.graph import (
    attribute,
    check_attributes,
    dim,
    integers,
    needed,
    operand,
    other,
    producer,
    rank,
    scalar,
    through,
)
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply

# Of both ops; how much of a head is turned, the tables' width tells.
_ATTRIBUTES = ("interleaved", "num_heads", "rotary_embedding_dim")


def fuse_rope(model: ir.Model) -> Outcome:
    """Replace every rotary embedding."""
    return apply(model, RULES)


def _spelled(model: ir.Model, node: ir.Node) -> bool:
    found = _rotation(node)
    if found is None:
        return False
    x, cos, sin = found
    width = dim(x, 3)
    if x.shape is None or x.shape.rank() != 4 or width is None or "seq" not in x.shape[1:3]:
        raise Miss("the rotated value is not [batch, heads, seq, width]")
    tables = computed_tables(model, _unbroadcast(cos), _unbroadcast(sin), width)
    emit = rope if x.shape[2] == "seq" else rope_by_token
    replace(node, emit(model, Builder(node), x, tables))
    return True


def _rotation(node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value] | None:
    """(x, cos, sin) of Add(Mul(x, cos), Mul(Concat(-x2, x1), sin)); None if no half is turned."""
    for straight, turned in (node.inputs, node.inputs[::-1]):
        left, right = producer(straight, "Mul"), producer(turned, "Mul")
        if left is None or right is None:
            continue
        for half in right.inputs:
            x = _rotated_half(half)
            if x is not None and half is not None:
                if x not in left.inputs:
                    raise Miss("the turned half is not of the value that cos multiplies")
                return x, other(left, x), other(right, half)
    return None


def _rotated_half(value: ir.Value | None) -> ir.Value | None:
    """x if `value` is Concat(-x[w/2:], x[:w/2]) along the last axis."""
    join = producer(value, "Concat")
    if join is None or len(join.inputs) != 2:
        return None
    negative = producer(join.inputs[0], "Neg")
    upper, lower = negative.inputs[0] if negative else None, join.inputs[1]
    x = _half_of(lower, first=True)
    if x is None or upper is None or _half_of(upper, first=False) is not x:
        return None
    if attribute(join, "axis") not in (-1, 3):
        raise Miss("the halves are not joined along the width of a head")
    return x


def _half_of(value: ir.Value | None, first: bool) -> ir.Value | None:
    """x if `value` is the first or second half of it along its last axis, by Slice or Split."""
    node = producer(value, "Slice", "Split")
    if node is None or value is None:
        return None
    x = needed(node, 0)
    width, axis = dim(x, -1), (rank(x) or 0) - 1
    if node.op_type == "Split":
        at_last = attribute(node, "axis", 0) in (-1, axis)
        halves = len(node.outputs) == 2 and dim(value, -1) == (width or 0) // 2
        matches = halves and at_last and node.outputs[0 if first else 1] is value
    else:
        half = None if width is None else width // 2
        begins = scalar(operand(node, 1)) == (0 if first else half)
        along = (integers(operand(node, 3)) or [0])[0] in (-1, axis)
        matches = begins and along and dim(value, -1) == half
        matches = matches and scalar(operand(node, 4)) in (None, 1)
    if not matches:
        raise Miss("a head is not turned by halves")
    return x


def _unbroadcast(value: ir.Value) -> ir.Value:
    """The [batch, seq, width] below the Unsqueeze that broadcasts it over heads."""
    found = through(value, "Unsqueeze")
    assert found is not None
    return found


def _fused(model: ir.Model, node: ir.Node) -> bool:
    """ONNX's RotaryEmbedding (x, cos, sin, positions?), Microsoft's (x, positions, cos, sin)."""
    x = needed(node, 0)
    check_attributes(node, _ATTRIBUTES, scale=1.0, is_packed_batching=0)
    if node.domain == "com.microsoft":
        check_positions(model, needed(node, 1))
        tables = stored_tables(model, needed(node, 2), needed(node, 3))
    elif operand(node, 3) is not None:
        check_positions(model, needed(node, 3))
        tables = stored_tables(model, needed(node, 1), needed(node, 2))
    else:
        cos, sin = needed(node, 1), needed(node, 2)
        pairs = dim(cos, -1)
        if pairs is None:
            raise Miss("the width of its tables is unknown")
        tables = computed_tables(model, cos, sin, 2 * pairs)
    replace(node, _by_rank(model, Builder(node), node, x, tables))
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
    ("", "RotaryEmbedding"): _fused,
    ("com.microsoft", "RotaryEmbedding"): _fused,
}
