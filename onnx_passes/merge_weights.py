"""Matmuls of the same input, as one: weights side by side, joined lazily when they are packed."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.edit import Builder, add_tensor, unique_name
from onnx_passes.graph import DOMAIN, Miss, constant, dim, needed, operand


def merged(b: Builder, nodes: Sequence[ir.Node], name: str) -> ir.Value:
    """One MatMul (or Linear) giving what `nodes` give, side by side along the last axis."""
    x = needed(nodes[0], 0)
    if any(node.inputs[0] is not x for node in nodes):
        raise Miss("the projections do not read the same value")
    weight = _side_by_side(b.graph, [needed(node, 1) for node in nodes], f"{name}.weight")
    if all(operand(node, 2) is None for node in nodes):
        return _named(b.op("MatMul", x, weight), b.graph, name)
    bias = np.concatenate([_bias(node) for node in nodes])
    y = b.op("Linear", x, weight, b.constant(bias, f"{name}.bias"), domain=DOMAIN)
    return _named(y, b.graph, name)


def _named(value: ir.Value, graph: ir.Graph, name: str) -> ir.Value:
    value.name = unique_name(graph, name)
    return value


def _bias(node: ir.Node) -> np.ndarray:
    weight, bias = needed(node, 1), constant(operand(node, 2))
    if bias is not None:
        return bias
    return np.zeros(dim(weight, 1) or 0, None if weight.dtype is None else weight.dtype.numpy())


def _side_by_side(graph: ir.Graph, weights: list[ir.Value], name: str) -> ir.Value:
    widths = [dim(weight, 1) for weight in weights]
    if len({(weight.dtype, dim(weight, 0)) for weight in weights}) != 1:
        raise Miss("the projections' weights differ in type or depth")
    tensors = [weight.const_value for weight in weights if weight.const_value is not None]
    if None in widths or len(tensors) != len(weights):
        raise Miss("a projection's weight is not a constant matrix")

    def join() -> ir.TensorProtocol:
        return ir.tensor(np.concatenate([tensor.numpy() for tensor in tensors], axis=1))

    shape = ir.Shape([dim(weights[0], 0), sum(width or 0 for width in widths)])
    full = unique_name(graph, name)
    return add_tensor(graph, ir.LazyTensor(join, dtype=tensors[0].dtype, shape=shape, name=full))
