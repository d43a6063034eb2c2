"""Shape inference of our own ops, and of what `onnx-shape-inference` lacks of ONNX's.

A rule sets shape and type of a node's outputs, and the elements of small integer tensors that
are shapes themselves (Expand targets above all).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import onnx_ir as ir
import onnx_shape_inference as osi

from onnx_passes.graph import DOMAIN, attribute, integers, operand
from onnx_passes.shapes import SMALL, Dim, as_expr

Elements = list[Dim]


class Context(Protocol):
    """What rules use of the inference's context (its own class comes without type information)."""

    def set_shape_and_dtype(
        self, value: ir.Value, shape: ir.Shape | None, dtype: ir.DataType | None
    ) -> bool:
        """Note both of a value, where given."""

    def get_symbolic_value(self, value: ir.Value) -> Elements | None:
        """The elements of a shape, as far as they are known."""

    def set_symbolic_value(self, value: ir.Value, data: Elements) -> None:
        """Note the elements of a shape."""


Rule = Callable[[Context, ir.Node], None]


def _elements(context: Context, node: ir.Node, index: int) -> Elements | None:
    """Symbolic elements of an input, constants included."""
    value = operand(node, index)
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    numbers = integers(value) if tensor is not None and tensor.size < SMALL else None
    return context.get_symbolic_value(value) if numbers is None else [*numbers]


def _set(context: Context, output: ir.Value, dims: Sequence[Dim], like: ir.Value) -> None:
    context.set_shape_and_dtype(output, ir.Shape(dims), like.dtype)


def _shape_filler(context: Context, node: ir.Node) -> None:
    """ConstantOfShape of a known length: exporters build Expand targets so."""
    sizes = _elements(context, node, 0)
    tensor = attribute(node, "value")
    fill = 0 if tensor is None else tensor.numpy().reshape(-1)[0]
    if sizes is not None and len(sizes) == 1 and isinstance(sizes[0], int) and sizes[0] < SMALL:
        context.set_symbolic_value(node.outputs[0], [int(fill)] * sizes[0])


def _shape_product(context: Context, node: ir.Node) -> None:
    a, b = _elements(context, node, 0), _elements(context, node, 1)
    if a and b and (len(a) == len(b) or 1 in (len(a), len(b))):
        count = max(len(a), len(b))
        pairs = zip(a * (count // len(a)), b * (count // len(b)), strict=True)
        context.set_symbolic_value(node.outputs[0], [x * y for x, y in pairs])


def _equal(context: Context, node: ir.Node) -> None:
    """Equal of shape elements: a size, at least 0, is never the -1 that marks an inferred one."""
    a, b = _elements(context, node, 0), _elements(context, node, 1)
    if a is None or b is None or len(a) != len(b):
        return
    answers = [_same(x, y) for x, y in zip(a, b, strict=True)]
    if None not in answers:
        context.set_symbolic_value(node.outputs[0], [int(bool(x)) for x in answers])


def _same(a: Dim, b: Dim) -> bool | None:
    difference = (as_expr(a) - as_expr(b)).expand()
    if difference == 0:
        return True
    return False if difference.is_positive or difference.is_negative else None


def _where(context: Context, node: ir.Node) -> None:
    condition, a, b = (_elements(context, node, i) for i in range(3))
    if condition is None or a is None or b is None or not len(condition) == len(a) == len(b):
        return
    if all(isinstance(c, int) for c in condition):
        chosen = [x if c else y for c, x, y in zip(condition, a, b, strict=True)]
        context.set_symbolic_value(node.outputs[0], chosen)


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


def turned_order(node: ir.Node, side: str, size: int) -> list[int]:
    """How FusedMatMul turns its operand "A" or "B": the last two axes, the first of the batches."""
    order = list(range(size))
    if attribute(node, f"transBatch{side}", 0) and size > 2:
        order[:-1] = [*order[1:-1], 0]
    if attribute(node, f"trans{side}", 0) and size > 1:
        order[-2:] = order[:-3:-1]
    return order


def _fused_matmul(context: Context, node: ir.Node) -> None:
    """The library turns no batches."""
    shapes: list[list[Dim]] = []
    for side, value in zip("AB", node.inputs, strict=False):
        if value is None or value.shape is None or value.shape.rank() < 2:
            return
        order = turned_order(node, side, value.shape.rank())
        shapes.append([value.shape[axis] for axis in order])
    (*more_a, rows, _), (*more_b, _, columns) = shapes
    longest = max(len(more_a), len(more_b))
    ones: list[Dim] = [1] * longest
    padded = [(ones + more)[len(more) :] for more in (more_a, more_b)]
    batches = [b if a == 1 else a for a, b in zip(*padded, strict=True)]
    assert node.inputs[0] is not None
    _set(context, node.outputs[0], [*batches, rows, columns], node.inputs[0])


_OURS: dict[str, Rule] = {
    **dict.fromkeys(("RmsNorm", "AddRmsNorm", "Rope", "KvWrite", "Attention"), _like_first),
    "Glu": _glu,
    "LastRows": _last_rows,
    "Linear": _linear,
    "RopeKvWrite": _rope_kv_write,
}
_MORE: dict[str, Rule] = {
    "ConstantOfShape": _shape_filler,
    "Mul": _shape_product,
    "Equal": _equal,
    "Where": _where,
}


@functools.cache
def register_rules() -> None:
    """Add our rules to the inference, once; on ONNX's ops ours run after the library's."""
    osi.registry.collect()
    for op_type, rule in _OURS.items():
        osi.registry.register(DOMAIN, op_type, since_version=1)(rule)
    skip = osi.registry.register(
        "com.microsoft", "SkipSimplifiedLayerNormalization", since_version=1
    )
    skip(_skip_norm)
    osi.registry.register("com.microsoft", "FusedMatMul", since_version=1)(_fused_matmul)
    for op_type, rule in _MORE.items():
        originals = {v: osi.registry.get("", op_type, version=v) for v in range(1, 27)}
        for version, original in originals.items():
            osi.registry.register("", op_type, since_version=version)(_then(original, rule))


def _then(original: Rule | None, more: Rule) -> Rule:
    def both(context: Context, node: ir.Node) -> None:
        if original is not None:
            original(context, node)
        more(context, node)

    return both
