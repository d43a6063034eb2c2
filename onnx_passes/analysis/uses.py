"""What becomes of a graph's inputs: looked up, turned to angles, extended as a cache."""

from collections.abc import Iterator
from typing import NamedTuple

import onnx_ir as ir

from onnx_passes.ir.graph import (
    attribute,
    dim,
    is_constant,
    is_op,
    needed,
    operand,
    producer,
    rank,
    through,
)
from onnx_passes.ir.rules import Miss

# Ops that move or cast numbers without changing what they mean: positions stay positions.
_MOVES = (
    *("Cast", "Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose", "Concat", "Identity"),
    *("Slice", "Gather"),
)
# Ops that hand token ids on to the embedding unchanged.
_HANDS_ON = ("Cast", "Reshape", "Identity", "Flatten", "Unsqueeze", "Squeeze")
# (op type) -> {output index: input index} where the op itself extends a cache
_CACHE_OPS = {
    "GroupQueryAttention": {1: 3, 2: 4},
    "Attention": {1: 4, 2: 5},
    "MultiHeadAttention": {1: 6, 2: 7},
}
_MOVED = ("Cast", "Identity", "Transpose")
_TOKENS = 2  # axis of the tokens in most caches: [batch, kv_heads, tokens, head_dim]
WRITTEN = "TensorScatter"  # what writes into a cache of fixed size, at a place that is its input 2
SCATTERED = ("ScatterND", "ScatterElements")  # and at indices: transformers' static caches
_EXTENDING = ("Concat", *SCATTERED, WRITTEN)


class Cache(NamedTuple):
    """A past input, the present output that extends it, the node and the axis that it extends."""

    past: str
    present: str
    node: ir.Node
    axis: int  # of the past input


def slots(graph: ir.Graph) -> int | None:
    """How many tokens caches have room for whose size is in the graph; None where they grow."""
    found = {
        dim(value, cache.axis)
        for cache in caches(graph)
        for value in graph.inputs
        if value.name == cache.past and cache.node.op_type in SCATTERED
    }
    return found.pop() if len(found) == 1 else None


def looked_up_rows(value: ir.Value, shifts: tuple[str, ...] = ()) -> set[int]:
    """The rows of every constant table of floats that the value indexes.

    The value may be cast, or pass through `shifts`.
    """
    found, seen, front = set[int](), set[ir.Value](), [value]
    while front:
        current = front.pop()
        if current in seen:
            continue
        seen.add(current)
        for node, index in current.uses():
            rows = _table_rows(node) if is_op(node, "Gather") and index == 1 else None
            if rows is not None:
                found.add(rows)
            if (is_op(node, *_HANDS_ON) and index == 0) or is_op(node, *shifts):
                front += node.outputs
    return found


def feeds(value: ir.Value, op_type: str, index: int) -> bool:
    """Whether the value is such an input of a node, as it is or cast or reshaped."""
    for node, at in value.uses():
        if is_op(node, op_type) and at == index:
            return True
        if is_op(node, *_HANDS_ON) and at == 0 and feeds(node.outputs[0], op_type, index):
            return True
    return False


def _table_rows(lookup: ir.Node) -> int | None:
    """The rows of the table that a Gather reads; None where it is no table of floats."""
    table = operand(lookup, 0)
    source = through(table, "Transpose", "Cast", "Identity")
    if source is None or not is_constant(source):
        return None
    tensor = ir.convenience.get_const_tensor(source)
    shape = source.shape if tensor is None else tensor.shape
    is_float = source.dtype is None or source.dtype.is_floating_point()
    if shape is None or len(shape) != 2 or not is_float:
        return None
    turned = through(table, "Cast", "Identity") is not source
    rows = shape[(attribute(lookup, "axis", 0) + turned) % 2]
    return rows if isinstance(rows, int) else None


def caches(graph: ir.Graph) -> Iterator[Cache]:
    """Every cache, through casts and transposes: some exporters cast even to a value's own type."""
    for output in graph.outputs:
        present = through(output, *_MOVED)
        node = producer(present, *_CACHE_OPS, *_EXTENDING)
        if node is None or present is None:
            continue
        extended = [*node.inputs]
        if node.op_type in _CACHE_OPS:
            index = _CACHE_OPS[node.op_type].get(present.index() or 0, len(extended))
            extended = [operand(node, index)]
        for value in extended:
            past = through(value, *_MOVED)
            if past is not None and past.is_graph_input() and past.name and output.name:
                axis = _before_moves(value, attribute(node, "axis", _usual_axis(node)), past)
                yield Cache(past.name, output.name, node, axis)
                break


def _usual_axis(node: ir.Node) -> int:
    rows = is_op(node, "ScatterND") and dim(operand(node, 1), -1) == 1  # of what is scattered to
    return 0 if rows else -2 if node.op_type == WRITTEN else _TOKENS


def _before_moves(value: ir.Value | None, axis: int, past: ir.Value) -> int:
    """Which axis of `past` becomes this one of `value`."""
    axis %= rank(past) or 4
    while value is not past and (node := producer(value)) is not None:
        if node.op_type == "Transpose":
            axis = attribute(node, "perm")[axis]
        value = operand(node, 0)
    return axis


def reaches_rotation(value: ir.Value) -> bool:
    """Whether the value becomes an angle or indexes rotary tables: then it is the positions."""
    seen: set[ir.Value] = set()
    front = [(value, False)]
    while front:
        current, multiplied = front.pop()
        if current in seen:
            continue
        seen.add(current)
        for node, index in current.uses():
            rotary = is_op(node, "RotaryEmbedding") and index in (1, 3)
            if is_op(node, "Cos", "Sin") or rotary:
                return True
            indexes = is_op(node, "Gather") and index == 1
            if is_op(node, *_MOVES) and not (indexes and multiplied):
                front += [(output, multiplied) for output in node.outputs]
            if is_op(node, "Mul", "MatMul", "Einsum") and not multiplied:
                front += [(output, True) for output in node.outputs]
    return False


def source_of(cache: Cache) -> tuple[ir.Value, list[int]]:
    """The past input, and which of its axes are those of what the node extends."""
    value, order = needed(cache.node, 0), [0, 1, 2, 3]
    while (node := producer(value, "Transpose")) is not None and len(value.uses()) == 1:
        perm = attribute(node, "perm")
        value, order = needed(node, 0), [perm[axis] for axis in order]
    if value.name != cache.past or len(value.uses()) != 1:
        raise Miss(f"{cache.past} is read elsewhere too, or not as it is")
    return value, order


def cache_widths(graph: ir.Graph) -> dict[str, int]:
    """Head widths of caches that the exporter left symbolic: from the fused ops that read them."""
    widths: dict[str, int] = {}
    for node in graph:
        heads, groups = attribute(node, "num_heads", 0), attribute(node, "kv_num_heads", 0)
        width = dim(operand(node, 0), -1)
        if not is_op(node, "GroupQueryAttention") or width is None or not heads or not groups:
            continue
        packed = operand(node, 1) is None
        for past in node.inputs[3:5]:
            if past is not None and past.name:
                widths[past.name] = width // (heads + 2 * groups if packed else heads)
    return widths
