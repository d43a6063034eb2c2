"""What becomes of a graph's inputs: looked up, turned to angles, extended as a cache."""

from collections.abc import Iterator

import onnx_ir as ir

from onnx_passes.ir.graph import (
    attribute,
    dim,
    is_constant,
    is_op,
    operand,
    producer,
    rank,
    through,
)

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
_CASTS = ("Cast", "Identity")
_EXTENDING = ("Concat", "ScatterND", "ScatterElements", "TensorScatter")


def is_looked_up(value: ir.Value, shifts: tuple[str, ...] = ()) -> bool:
    """Whether the value, cast or passed through `shifts`, indexes a constant table of floats."""
    seen: set[ir.Value] = set()
    front = [value]
    while front:
        current = front.pop()
        if current in seen:
            continue
        seen.add(current)
        for node, index in current.uses():
            if is_op(node, "Gather") and index == 1 and _is_table(operand(node, 0)):
                return True
            if (is_op(node, *_HANDS_ON) and index == 0) or is_op(node, *shifts):
                front += node.outputs
    return False


def _is_table(value: ir.Value | None) -> bool:
    source = through(value, "Transpose", "Cast", "Identity")
    if source is None or not is_constant(source) or _rank(source) != 2:
        return False
    return source.dtype is None or source.dtype.is_floating_point()


def _rank(value: ir.Value) -> int | None:
    tensor = ir.convenience.get_const_tensor(value)
    return rank(value) if tensor is None else len(tensor.shape)


def cache_pairs(graph: ir.Graph) -> Iterator[tuple[str, str]]:
    """Pasts and presents, through casts: some exporters write them even to a value's own type."""
    for output in graph.outputs:
        present = through(output, *_CASTS)
        node = producer(present, *_CACHE_OPS, *_EXTENDING)
        if node is None or present is None:
            continue
        extended = [*node.inputs]
        if node.op_type in _CACHE_OPS:
            index = _CACHE_OPS[node.op_type].get(present.index() or 0, len(extended))
            extended = [operand(node, index)]
        sources = (through(value, *_CASTS) for value in extended)
        past = next((x for x in sources if x is not None and x.is_graph_input()), None)
        if past is not None and past.name and output.name:
            yield past.name, output.name


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
