"""Matmuls of the same input, as one: their weights side by side, joined lazily when they are packed."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.graph import DOMAIN, Builder, Miss, constant, is_constant, needed, operand, unique_name


def merged(b: Builder, nodes: Sequence[ir.Node], name: str) -> ir.Value:
    """One MatMul (or Linear) giving what `nodes` give, side by side along the last axis."""
    x = needed(nodes[0], 0)
    if any(node.inputs[0] is not x for node in nodes):
        raise Miss("the projections do not read the same value")
    weight = _side_by_side(b.graph, [needed(node, 1) for node in nodes], f"{name}.weight")
    biases = [operand(node, 2) for node in nodes]
    if all(bias is None for bias in biases):
        return b.op("MatMul", x, weight)
    widths = [_width(node) for node in nodes]
    zeros = (np.zeros(n, weight.dtype.numpy()) for n in widths)  # type: ignore[union-attr]
    parts = [z if bias is None else constant(bias) for z, bias in zip(zeros, biases, strict=True)]
    return b.op("Linear", x, weight, b.constant(np.concatenate(parts), f"{name}.bias"), domain=DOMAIN)  # type: ignore[arg-type]


def _width(node: ir.Node) -> int:
    shape = needed(node, 1).shape
    if shape is None or not isinstance(shape[1], int):
        raise Miss("a weight's shape is unknown")
    return shape[1]


def _side_by_side(graph: ir.Graph, weights: list[ir.Value], name: str) -> ir.Value:
    shapes = [w.shape for w in weights]
    if any(not is_constant(w) or s is None or s.rank() != 2 for w, s in zip(weights, shapes, strict=True)):
        raise Miss("a projection's weight is not a constant matrix")
    if len({(w.dtype, w.shape[0]) for w in weights if w.shape is not None}) != 1:
        raise Miss("the projections' weights differ in type or depth")
    width = sum(int(s[1]) for s in shapes if s is not None)  # type: ignore[arg-type]
    dtype, rows = weights[0].dtype, shapes[0][0]  # type: ignore[index]
    assert dtype is not None
    tensors = [w.const_value for w in weights]

    def join() -> ir.Tensor:
        return ir.Tensor(np.concatenate([t.numpy() for t in tensors if t is not None], axis=1))

    full = unique_name(graph, name)
    lazy = ir.LazyTensor(join, dtype=dtype, shape=ir.Shape([rows, width]), name=full)
    value = ir.val(full, dtype=dtype, shape=[rows, width], const_value=lazy)
    graph.register_initializer(value)
    return value


