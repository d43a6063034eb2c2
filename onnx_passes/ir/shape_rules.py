"""Shape rules of our own ops; and the place where all rules join the inference's own.

A rule sets shape and type of a node's outputs, and the elements of small integer tensors that
are shapes themselves (Expand targets above all).
"""

import functools
from collections.abc import Sequence

import onnx_ir as ir
import onnx_shape_inference as osi

from onnx_passes.ir.dims import Dim
from onnx_passes.ir.graph import DOMAIN, attribute, operand
from onnx_passes.ir.rule_context import Context, Rule
from onnx_passes.ir.shape_values import VALUES
from onnx_passes.ir.sound_rules import AFTER, INSTEAD


def _set(context: Context, output: ir.Value, dims: Sequence[Dim], like: ir.Value) -> None:
    context.set_shape_and_dtype(output, ir.Shape(dims), like.dtype)


def _like_first(context: Context, node: ir.Node) -> None:
    x = operand(node, 0)
    if x is not None and x.shape is not None:
        for output in node.outputs:
            _set(context, output, list(x.shape), x)


def _skip_norm(context: Context, node: ir.Node) -> None:
    """com.microsoft's skip norms: normalised, mean, inverse deviation, and the sum."""
    x = operand(node, 0)
    if x is not None and x.shape is not None:
        for output in (*node.outputs[:1], *node.outputs[3:4]):
            _set(context, output, list(x.shape), x)


def _last_rows(context: Context, node: ir.Node) -> None:
    x = operand(node, 0)
    if x is not None and x.shape is not None:
        _set(context, node.outputs[0], [x.shape[0], ir.SymbolicDim("rows"), *x.shape[2:]], x)


def _glu(context: Context, node: ir.Node) -> None:
    x = operand(node, 0)
    if x is not None and x.shape is not None and isinstance(x.shape[-1], int):
        _set(context, node.outputs[0], [*x.shape[:-1], x.shape[-1] // 2], x)


def _linear(context: Context, node: ir.Node) -> None:
    x, weight = operand(node, 0), operand(node, 1)
    if x is not None and weight is not None and x.shape is not None and weight.shape is not None:
        _set(context, node.outputs[0], [*x.shape[:-1], weight.shape[-1]], x)


def _rope_kv_write(context: Context, node: ir.Node) -> None:
    qkv, *states = (operand(node, i) for i in (0, 3, 4))
    for output, state in zip(node.outputs[1:], states, strict=True):
        if state is not None and state.shape is not None:
            _set(context, output, list(state.shape), state)
            if qkv is not None and qkv.shape is not None:
                dims = [*qkv.shape[:2], attribute(node, "heads"), state.shape[3]]
                _set(context, node.outputs[0], dims, qkv)


def transposed_order(node: ir.Node, side: str, size: int) -> list[int]:
    """Axes of operand "A" or "B" as FusedMatMul reads them: some swapped, the first moved."""
    order = list(range(size))
    if attribute(node, f"transBatch{side}", 0) and size > 2:
        order[:-1] = [*order[1:-1], 0]
    if attribute(node, f"trans{side}", 0) and size > 1:
        order[-2:] = order[:-3:-1]
    return order


def _fused_matmul(context: Context, node: ir.Node) -> None:
    """As the library's rule, which does not know of transposed batches."""
    shapes: list[list[Dim]] = []
    for side, value in zip("AB", node.inputs, strict=False):
        if value is None or value.shape is None or value.shape.rank() < 2:
            return
        order = transposed_order(node, side, value.shape.rank())
        shapes.append([value.shape[axis] for axis in order])
    (*more_a, rows, _), (*more_b, _, columns) = shapes
    longest = max(len(more_a), len(more_b))
    ones: list[Dim] = [1] * longest
    padded = [(ones + more)[len(more) :] for more in (more_a, more_b)]
    batches = [b if a == 1 else a for a, b in zip(*padded, strict=True)]
    assert node.inputs[0] is not None
    _set(context, node.outputs[0], [*batches, rows, columns], node.inputs[0])


# An op of ours that is not here is inferred through its body. Here are those whose body does not
# tell a size (LastRows, RopeKvWrite), and for the time that takes, those that every layer has.
OURS: dict[str, Rule] = {
    **dict.fromkeys(("RmsNorm", "AddRmsNorm", "Rope", "KvWrite", "Attention"), _like_first),
    "Glu": _glu,
    "LastRows": _last_rows,
    "Linear": _linear,
    "RopeKvWrite": _rope_kv_write,
}


@functools.cache
def register_rules() -> None:
    """Add our rules to the inference, once; on ONNX's ops most run after the library's."""
    osi.registry.collect()
    for op_type, rule in OURS.items():
        osi.registry.register(DOMAIN, op_type, since_version=1)(rule)
    skip = osi.registry.register(
        "com.microsoft", "SkipSimplifiedLayerNormalization", since_version=1
    )
    skip(_skip_norm)
    osi.registry.register("com.microsoft", "FusedMatMul", since_version=1)(_fused_matmul)
    for op_type in {*VALUES, *AFTER, *INSTEAD}:
        theirs = {v: osi.registry.get("", op_type, version=v) for v in range(1, 28)}
        for version, rule in theirs.items():
            rules = INSTEAD.get(op_type, rule), AFTER.get(op_type), VALUES.get(op_type)
            osi.registry.register("", op_type, since_version=version)(_in_turn(rules))


def _in_turn(rules: Sequence[Rule | None]) -> Rule:
    def run(context: Context, node: ir.Node) -> None:
        for rule in rules:
            if rule is not None:
                rule(context, node)

    return run
