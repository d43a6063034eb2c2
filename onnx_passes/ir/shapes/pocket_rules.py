"""Shape rules of our own ops.

A rule sets shape and type of a node's outputs.
"""

from collections.abc import Sequence

import onnx_ir as ir

from onnx_passes.ir.dims import Dim
from onnx_passes.ir.graph import attribute, operand
from onnx_passes.ir.shapes.rule_context import Context, Rule


def set_like(context: Context, output: ir.Value, dims: Sequence[Dim], like: ir.Value) -> None:
    """Give the output these dimensions and the type of `like`."""
    context.set_shape_and_dtype(output, ir.Shape(dims), like.dtype)


def _like_first(context: Context, node: ir.Node) -> None:
    x = operand(node, 0)
    if x is not None and x.shape is not None:
        for output in node.outputs:
            set_like(context, output, list(x.shape), x)


def _last_rows(context: Context, node: ir.Node) -> None:
    x = operand(node, 0)
    if x is not None and x.shape is not None:
        set_like(context, node.outputs[0], [x.shape[0], ir.SymbolicDim("rows"), *x.shape[2:]], x)


def _glu(context: Context, node: ir.Node) -> None:
    x = operand(node, 0)
    if x is not None and x.shape is not None and isinstance(x.shape[-1], int):
        set_like(context, node.outputs[0], [*x.shape[:-1], x.shape[-1] // 2], x)


def _linear(context: Context, node: ir.Node) -> None:
    x, weight = operand(node, 0), operand(node, 1)
    if x is not None and weight is not None and x.shape is not None and weight.shape is not None:
        set_like(context, node.outputs[0], [*x.shape[:-1], weight.shape[-1]], x)


def _experts(context: Context, node: ir.Node) -> None:
    x, weight, indices = (operand(node, i) for i in range(3))
    if x is not None and weight is not None and indices is not None and indices.shape is not None:
        columns = None if weight.shape is None else weight.shape[-1]
        if isinstance(columns, int):
            dims = [*indices.shape, columns // attribute(node, "experts")]
            set_like(context, node.outputs[0], dims, x)


def _group_topk(context: Context, node: ir.Node) -> None:
    scores = operand(node, 0)
    if scores is not None and scores.shape is not None:
        dims = [*scores.shape[:-1], attribute(node, "k")]
        set_like(context, node.outputs[0], dims, scores)
        context.set_shape_and_dtype(node.outputs[1], ir.Shape(dims), ir.DataType.INT64)


def _split_heads(context: Context, node: ir.Node) -> None:
    x, heads, groups = operand(node, 0), attribute(node, "heads"), attribute(node, "kv_heads")
    if x is not None and x.shape is not None and isinstance(x.shape[2], int):
        width = x.shape[2] // (heads + 2 * groups)
        for output, count in zip(node.outputs, (heads, groups, groups), strict=True):
            set_like(context, output, [*x.shape[:2], count, width], x)


def _rope_kv_write(context: Context, node: ir.Node) -> None:
    first = 1 if node.op_type == "SplitKvWrite" else 3
    qkv, *states = (operand(node, i) for i in (0, first, first + 1))
    for output, state in zip(node.outputs[1:], states, strict=True):
        if state is not None and state.shape is not None:
            set_like(context, output, list(state.shape), state)
            if qkv is not None and qkv.shape is not None:
                dims = [*qkv.shape[:2], attribute(node, "heads"), state.shape[3]]
                set_like(context, node.outputs[0], dims, qkv)


def _positions(context: Context, node: ir.Node) -> None:
    x, start = operand(node, 0), operand(node, 2)
    if x is not None and start is not None and x.shape is not None and start.shape is not None:
        shape = ir.Shape([start.shape[0], x.shape[1]])
        context.set_shape_and_dtype(node.outputs[0], shape, ir.DataType.INT64)


def _mask(context: Context, node: ir.Node) -> None:
    """PaddingMask [B,P+S], CausalMask [B,1,S,P+S]."""
    x, start = operand(node, 0), operand(node, 2)
    if x is None or start is None or x.shape is None or start.shape is None:
        return
    batch, seq = start.shape[0], x.shape[1]
    queries: list[Dim] = [1, seq] if node.op_type == "CausalMask" else []
    shape = ir.Shape([batch, *queries, ir.SymbolicDim("past") + seq])
    context.set_shape_and_dtype(node.outputs[0], shape, ir.DataType.BOOL)


def _key_positions(context: Context, node: ir.Node) -> None:
    x, start = operand(node, 0), operand(node, 2)
    if x is not None and start is not None and x.shape is not None and start.shape is not None:
        shape = ir.Shape([start.shape[0], ir.SymbolicDim("past") + x.shape[1]])
        context.set_shape_and_dtype(node.outputs[0], shape, ir.DataType.INT64)


def _distances(context: Context, node: ir.Node) -> None:
    x = operand(node, 0)
    if x is not None and x.shape is not None:
        shape = ir.Shape([x.shape[1], ir.SymbolicDim("past") + x.shape[1]])
        context.set_shape_and_dtype(node.outputs[0], shape, ir.DataType.INT64)


def _extent(context: Context, node: ir.Node) -> None:
    context.set_shape_and_dtype(node.outputs[0], ir.Shape([1]), ir.DataType.INT64)


def _spread(context: Context, node: ir.Node) -> None:
    v, x = operand(node, 0), operand(node, 1)
    if v is None or x is None or x.shape is None:
        return
    past, seq = ir.SymbolicDim("past"), x.shape[1]
    sizes: dict[int, Dim] = {-1: seq, -2: past + seq, -3: past}
    set_like(context, node.outputs[0], [sizes.get(d, d) for d in attribute(node, "shape")], v)


def _kv_read(context: Context, node: ir.Node) -> None:
    state, new = operand(node, 0), operand(node, 1)
    if state is None or new is None or state.shape is None or new.shape is None:
        return
    total = ir.SymbolicDim("past") + new.shape[1]
    set_like(context, node.outputs[0], [*state.shape[:2], total, state.shape[3]], state)


# An op of ours that is not here is inferred through its body. Here are those whose body does not
# tell a size (LastRows, RopeKvWrite, masks), and for the time that takes, those that every layer
# has.
OURS: dict[str, Rule] = {
    **dict.fromkeys(
        ("RmsNorm", "AddRmsNorm", "NormHeads", "Rope", "KvWrite", "Attention", "Above", "TopMask"),
        _like_first,
    ),
    "Positions": _positions,
    **dict.fromkeys(("PaddingMask", "CausalMask"), _mask),
    "KeyPositions": _key_positions,
    "Distances": _distances,
    **dict.fromkeys(("Extent", "TextLength"), _extent),
    "Spread": _spread,
    "KvRead": _kv_read,
    "Glu": _glu,
    "LastRows": _last_rows,
    "Linear": _linear,
    "Experts": _experts,
    "GroupTopK": _group_topk,
    "SplitHeads": _split_heads,
    **dict.fromkeys(("RopeKvWrite", "SplitKvWrite"), _rope_kv_write),
}
