"""Matmuls of the same input, as one: weights side by side, concatenated when they are asked for.

Their columns may come in another order: then it is picked when they are asked for.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import Builder, add_tensor, unique_name
from onnx_passes.ir.graph import DOMAIN, constant, dim, needed, operand
from onnx_passes.ir.rules import Loss, Miss
from onnx_passes.weights.lazy import Concat
from onnx_passes.weights.picked import picked
from onnx_passes.weights.quantized import QuantizedTensor
from onnx_passes.weights.stacked import stacked

MIXED = "only some of its projections' weights are quantised: all become floats"


def merged(
    b: Builder, nodes: Sequence[ir.Node], name: str, order: np.ndarray | None = None
) -> tuple[ir.Value, Loss | None]:
    """One MatMul (or Linear) giving what `nodes` give, side by side along the last axis.

    And what is lost by that: weights of which only some are quantised become floats, all of them.

    order  which columns of what they give are given, and in which order; None: all as they are
    """
    x = needed(nodes[0], 0)
    if any(node.inputs[0] is not x for node in nodes):
        raise Miss("the projections do not read the same value")
    weight, loss = _weights(b.graph, nodes, f"{name}.weight", order)
    if all(operand(node, 2) is None for node in nodes):
        return _named(b.op("MatMul", x, weight), b.graph, name), loss
    bias = np.concatenate([_bias(node) for node in nodes])
    bias = bias if order is None else bias[order]
    y = b.op("Linear", x, weight, b.constant(bias, f"{name}.bias"), domain=DOMAIN)
    return _named(y, b.graph, name), loss


def _named(value: ir.Value, graph: ir.Graph, name: str) -> ir.Value:
    value.name = unique_name(graph, name)
    return value


def _bias(node: ir.Node) -> np.ndarray:
    weight, bias = needed(node, 1), constant(operand(node, 2))
    if bias is not None:
        return bias
    return np.zeros(dim(weight, 1) or 0, None if weight.dtype is None else weight.dtype.numpy())


def _weights(
    graph: ir.Graph, nodes: Sequence[ir.Node], name: str, order: np.ndarray | None
) -> tuple[ir.Value, Loss | None]:
    """The weights [K, N] of nodes as one: quantised where all of them are, else floats."""
    weights = [needed(node, 1) for node in nodes]
    widths = [dim(weight, 1) for weight in weights]
    if len({(weight.dtype, dim(weight, 0)) for weight in weights}) != 1:
        raise Miss("the projections' weights differ in type or depth")
    tensors = [weight.const_value for weight in weights if weight.const_value is not None]
    if None in widths or len(tensors) != len(weights):
        raise Miss("a projection's weight is not a constant matrix")
    full = unique_name(graph, name)
    names = [node.name for node in nodes if node.name]
    joined, loss = side_by_side(tensors, full, names)
    joined = joined if order is None else picked(joined, order, full)
    return add_tensor(graph, joined), loss


def side_by_side(
    tensors: Sequence[ir.TensorProtocol], name: str, former: Sequence[str]
) -> tuple[ir.LazyTensor, Loss | None]:
    """Matrices [K, N] of one type and depth as one; `former`: names of nodes that it replaces."""
    joined = _stacked(tensors, name)
    if joined is not None:
        return joined, None
    loses = any(isinstance(tensor, QuantizedTensor) for tensor in tensors)
    return Concat(tensors, name, former), Loss(MIXED) if loses else None


def _stacked(tensors: Sequence[ir.TensorProtocol], name: str) -> QuantizedTensor | None:
    """Quantised weights as one; None where some are floats or lie otherwise."""
    found = [t for t in tensors if isinstance(t, QuantizedTensor) and t.transposed]
    if len(found) < len(tensors):
        return None
    weight = stacked([tensor.weight for tensor in found])
    return None if weight is None else QuantizedTensor(weight, found[0].dtype, True, name)
