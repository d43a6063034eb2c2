"""Gemm, Einsum of two tensors and ReduceLogSumExp  ->  the ops that they bundle.

Products become MatMul, as all later rules and the fast kernels know them; a factor or a transpose
of a constant is folded into it. ReduceLogSumExp has a body in ONNX's schema, but in float64.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import attribute, needed, operand, rank
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply


def unbundle(model: ir.Model) -> Outcome:
    """Replace every such op."""
    return apply(model, RULES)


def _gemm(_: ir.Model, node: ir.Node) -> bool:
    """alpha * A' B' + beta * C."""
    b, (x, w) = Builder(node), (needed(node, i) for i in range(2))
    if x.dtype is None or not x.dtype.is_floating_point():
        raise Miss("it multiplies elements that are no floats")
    sides = ((x, "transA"), (w, "transB"))
    a, w = (b.op("Transpose", v, perm=[1, 0]) if attribute(node, t, 0) else v for v, t in sides)
    y = _scaled(b, b.op("MatMul", a, w), attribute(node, "alpha", 1.0), x)
    c = operand(node, 2)
    replace(node, y if c is None else b.op("Add", y, _scaled(b, c, _beta(node), x)))
    return True


def _beta(node: ir.Node) -> float:
    return float(attribute(node, "beta", 1.0))


def _scaled(b: Builder, value: ir.Value, factor: float, like: ir.Value) -> ir.Value:
    assert like.dtype is not None, "it was looked at"
    if factor == 1:
        return value
    return b.op("Mul", value, b.constant(np.array(factor, like.dtype.numpy())))


def _log_sum_exp(_: ir.Model, node: ir.Node) -> bool:
    """log(sum exp(x - m)) + m for the largest m, so that nothing overflows."""
    b, x, axes = Builder(node), needed(node, 0), operand(node, 1)
    if attribute(node, "noop_with_empty_axes", 0):
        raise Miss("what it does without axes is not computed")
    top = b.op("ReduceMax", x, axes, keepdims=1)
    zero = b.constant(np.array(0, np.float32))
    top = b.op("Where", b.op("IsInf", top), zero, top)  # a sum of nothing but zeros has no top
    total = b.op("ReduceSum", b.op("Exp", b.op("Sub", x, top)), axes, keepdims=1)
    y = b.op("Add", b.op("Log", total), top)
    if not attribute(node, "keepdims", 1):
        y = b.op("Squeeze", y, b.target(*range(rank(x) or 0)) if axes is None else axes)
    replace(node, y)
    return True


def _einsum(_: ir.Model, node: ir.Node) -> bool:
    """A product of two tensors: batch labels in front, then rows, what is summed, columns."""
    ins, out = _labels(node)
    left, right = (needed(node, i) for i in range(2))
    sizes = {k: d for v, names in zip((left, right), ins, strict=True) for k, d in _dims(v, names)}
    shared = [k for k in ins[0] if k in ins[1]]
    batch, summed = [k for k in shared if k in out], [k for k in shared if k not in out]
    rows, columns = ([k for k in names if k not in shared] for names in ins)
    if set(rows + columns) - set(out):
        raise Miss("it sums over an axis of one operand alone")
    b = Builder(node)
    x = _grouped(b, left, ins[0], [batch, rows, summed], sizes)
    w = _grouped(b, right, ins[1], [batch, summed, columns], sizes)
    y = b.op("MatMul", x, w)
    made = [*batch, *rows, *columns]
    if len(rows) != 1 or len(columns) != 1:
        y = b.op("Reshape", y, _target(b, made, sizes))
    order = [made.index(k) for k in out]
    replace(node, y if order == sorted(order) else b.op("Transpose", y, perm=order))
    return True


def _labels(node: ir.Node) -> tuple[list[list[str]], list[str]]:
    """The labels of two operands' axes, and of the result's."""
    before, arrow, after = str(attribute(node, "equation")).replace(" ", "").partition("->")
    ins, out = [list(part) for part in before.split(",")], list(after)
    if len(node.inputs) != 2 or len(ins) != 2 or not arrow or "." in before:
        raise Miss("only products of two tensors whose result is spelled out are computed")
    if any(len(set(part)) < len(part) for part in (*ins, out)):
        raise Miss("a label stands for two axes of one tensor")
    return ins, out


def _dims(value: ir.Value, names: Sequence[str]) -> list[tuple[str, ir.SymbolicDim | int]]:
    if value.shape is None or value.shape.rank() != len(names):
        raise Miss("the shapes of its operands are unknown")
    return list(zip(names, value.shape, strict=True))


def _grouped(
    b: Builder,
    value: ir.Value,
    names: Sequence[str],
    groups: Sequence[Sequence[str]],
    sizes: dict[str, ir.SymbolicDim | int],
) -> ir.Value:
    """Axes in the order of the groups; each group after the first becomes one axis."""
    order = [list(names).index(k) for group in groups for k in group]
    if order != sorted(order):
        value = b.op("Transpose", value, perm=order)
    batch, *others = groups
    if all(len(group) == 1 for group in others):
        return value
    merged = {f"{n}": _size([sizes[k] for k in group]) for n, group in enumerate(others)}
    return b.op("Reshape", value, _target(b, [*batch, *merged], {**sizes, **merged}, len(batch)))


def _size(dims: Sequence[ir.SymbolicDim | int]) -> ir.SymbolicDim | int:
    numbers = [d for d in dims if isinstance(d, int)]
    return math.prod(numbers) if len(numbers) == len(dims) else ir.SymbolicDim(None)


def _target(
    b: Builder, names: Sequence[str], sizes: dict[str, ir.SymbolicDim | int], kept: int = 0
) -> ir.Value:
    """The operand of a Reshape; the first `kept` axes stay, one other may be of open size."""
    dims = [sizes[k] for k in names]
    target = [d if isinstance(d, int) else 0 if n < kept else -1 for n, d in enumerate(dims)]
    if target.count(-1) > 1:
        raise Miss("several of its sizes are open")
    return b.target(*target)


RULES: Rules = {
    ("", "Gemm"): _gemm,
    ("", "Einsum"): _einsum,
    ("", "ReduceLogSumExp"): _log_sum_exp,
}
