"""x * cos + rotate_half(x) * sin, or an exporter's RotaryEmbedding  ->  pocket.Rope, token-major, with stored tables.

`pocket.Rope` works on [batch, seq, heads, width]; the transposes around it cancel later. (Su et al. 2021, eq. 34)
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.graph import DOMAIN, Builder, Miss, attribute, explain, needed, operand, other, producer
from onnx_passes.graph import replace, scalar, through
from onnx_passes.rotary import Tables, computed_tables, stored_tables

TURN = [0, 2, 1, 3]  # [B, H, S, K] <-> [B, S, H, K]


def fuse_rope(model: ir.Model) -> int:
    """Replace every rotary embedding; return how many."""
    count = 0
    for node in list(model.graph):
        if node.op_type not in ("Add", "RotaryEmbedding"):
            continue
        try:
            count += _spelled(model, node) if node.op_type == "Add" else _fused(model, node)
        except Miss as miss:
            explain(node, miss)
    return count


def _spelled(model: ir.Model, node: ir.Node) -> bool:
    found = _rotation(node)
    if found is None:
        return False
    x, cos, sin = found
    width = None if x.shape is None or x.shape.rank() != 4 else x.shape[3]
    if not isinstance(width, int):
        raise Miss("the rotated value is not [batch, heads, seq, width]")
    b = Builder(node)
    tables = computed_tables(model, b, _unbroadcast(cos), _unbroadcast(sin), width)
    replace(node, rope(model, b, x, tables, interleaved=False))
    return True


def _rotation(node: ir.Node) -> tuple[ir.Value, ir.Value, ir.Value] | None:
    """(x, cos, sin) of Add(Mul(x, cos), Mul(Concat(-x2, x1), sin)), or None where no half is turned."""
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
    upper = None if negative is None else producer(negative.inputs[0], "Slice", "Split")
    lower = producer(join.inputs[1], "Slice", "Split")
    if upper is None or lower is None or upper.inputs[0] is not lower.inputs[0]:
        return None
    x = needed(lower, 0)
    width = None if x.shape is None else x.shape[-1]
    if upper.op_type == "Slice" and isinstance(width, int):
        if (scalar(operand(lower, 1)), scalar(operand(upper, 1))) != (0, width // 2):
            raise Miss("a head is not turned by halves")
    return x


def _unbroadcast(value: ir.Value) -> ir.Value:
    """The [batch, seq, width] below the Unsqueeze that broadcasts it over heads."""
    found = through(value, "Unsqueeze")
    assert found is not None
    return found


def _fused(model: ir.Model, node: ir.Node) -> bool:
    """ONNX RotaryEmbedding (x, cos, sin, positions?) or com.microsoft's (x, positions, cos, sin)."""
    x, b = needed(node, 0), Builder(node)
    if node.domain == "com.microsoft":
        tables = stored_tables(model, b, needed(node, 2), needed(node, 3))
    elif operand(node, 3) is not None:
        tables = stored_tables(model, b, needed(node, 1), needed(node, 2))
    else:
        cos, sin = needed(node, 1), needed(node, 2)
        pairs = None if cos.shape is None else cos.shape[-1]
        if not isinstance(pairs, int):
            raise Miss("the width of its tables is unknown")
        tables = computed_tables(model, b, cos, sin, 2 * pairs)
    replace(node, _by_rank(model, b, node, x, tables))
    return True


def _by_rank(model: ir.Model, b: Builder, node: ir.Node, x: ir.Value, tables: Tables) -> ir.Value:
    interleaved = bool(attribute(node, "interleaved", 0))
    if x.shape is not None and x.shape.rank() == 4:
        return rope(model, b, x, tables, interleaved)
    heads = attribute(node, "num_heads", 0)
    if not heads:
        raise Miss("x has rank 3 and num_heads is not given")
    split = b.op("Reshape", x, b.constant(shape_constant(0, 0, heads, -1)))
    turned = b.op("Rope", split, *tables, *counters(model), domain=DOMAIN, overload="interleaved" if interleaved else "")
    return b.op("Reshape", turned, b.constant(shape_constant(0, 0, -1)))


def rope(model: ir.Model, b: Builder, x: ir.Value, tables: Tables, interleaved: bool) -> ir.Value:
    """`pocket.Rope` of x [B, H, S, K], with the transposes to and from token-major."""
    by_token = b.op("Transpose", x, perm=TURN)
    overload = "interleaved" if interleaved else ""
    turned = b.op("Rope", by_token, *tables, *counters(model), domain=DOMAIN, overload=overload)
    return b.op("Transpose", turned, perm=TURN)


def counters(model: ir.Model) -> tuple[ir.Value, ir.Value]:
    """The graph inputs `past` and `start`."""
    by_name = {value.name: value for value in model.graph.inputs}
    return by_name["past"], by_name["start"]


def shape_constant(*dims: int) -> np.ndarray:
    """A Reshape target."""
    return np.array(dims, np.int64)
