"""`pocket.Experts` with what stands around it: what a token's experts make, weighed and summed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import Builder, add_tensor, unique_name
from onnx_passes.ir.graph import DOMAIN, attribute, constant, needed, operand
from onnx_passes.ir.rules import Miss
from onnx_passes.weights.picked import joined_by_expert


class Choice(NamedTuple):
    """What a router says of tokens: their k experts, and how much each counts."""

    indices: ir.Value  # int64 [.., k]
    gates: ir.Value  # [.., k]


class Matrices(NamedTuple):
    """The weights of E experts side by side, [K, E * N], and their biases [E, N]."""

    experts: int
    weight: ir.Value
    bias: ir.Value | None = None

    @classmethod
    def of(cls, node: ir.Node) -> Matrices:
        """Those of a `pocket.Experts`."""
        return cls(attribute(node, "experts"), needed(node, 1), operand(node, 3))


@dataclass(frozen=True)
class Activation:
    """Between an expert's two products: act(x), or of gates g and ups u act(g) * (u + beta).

    `limit` clamps gates from above and ups to both sides; silu is x * sigmoid(alpha * x).
    """

    kind: str  # relu, gelu (with tanh), silu, identity
    gated: bool = False
    alpha: float = 1.0
    beta: float = 0.0
    limit: float = math.inf

    @property
    def is_glu(self) -> bool:
        """Whether it is a `pocket.Glu`."""
        plain = (self.alpha, self.beta, self.limit) == (1.0, 0.0, math.inf)
        return self.gated and plain and self.kind in ("silu", "relu")


def mixture(
    b: Builder, x: ir.Value, first: Matrices, act: Activation, last: Matrices, choice: Choice
) -> ir.Value:
    """What the chosen experts make of x [.., K], weighed and summed: [.., N]."""
    inner = products(b, for_each(b, x), first, choice.indices)
    dtype = (first.weight.dtype or ir.DataType.FLOAT).numpy()
    outputs = products(b, activated(b, inner, act, dtype), last, choice.indices)
    return mixed(b, outputs, choice.gates)


def for_each(b: Builder, x: ir.Value) -> ir.Value:
    """x [.., K] as [.., 1, K]: all experts of a token read the same."""
    return b.op("Unsqueeze", x, b.constant(np.array([-2], np.int64)))


def mixed(b: Builder, outputs: ir.Value, gates: ir.Value) -> ir.Value:
    """Outputs [.., k, N] of experts, weighed and summed: [.., N]."""
    last, middle = (b.constant(np.array([axis], np.int64)) for axis in (-1, -2))
    weighed = b.op("Mul", outputs, b.op("Unsqueeze", gates, last))
    return b.op("ReduceSum", weighed, middle, keepdims=0)


def products(b: Builder, x: ir.Value, matrices: Matrices, indices: ir.Value) -> ir.Value:
    """[.., k, N] of x [.., 1, K] or [.., k, K]."""
    inputs = (x, matrices.weight, indices)
    if matrices.bias is None:
        return b.op("Experts", *inputs, domain=DOMAIN, experts=matrices.experts)
    biased = (*inputs, matrices.bias)
    return b.op("Experts", *biased, domain=DOMAIN, overload="bias", experts=matrices.experts)


def activated(b: Builder, x: ir.Value, act: Activation, dtype: np.dtype) -> ir.Value:
    """The activation of x [.., F], or [.., 2F] where it is gated: gates, then ups."""
    if act.is_glu:
        return b.op("Glu", x, domain=DOMAIN, overload=act.kind)
    if not act.gated:
        return _bent(b, x, act, dtype)
    gate, up = b.ops("Split", 2, x, axis=-1, num_outputs=2)
    if math.isfinite(act.limit):
        top, bottom = (b.constant(np.array(v, dtype)) for v in (act.limit, -act.limit))
        gate, up = b.op("Clip", gate, None, top), b.op("Clip", up, bottom, top)
    if act.beta:
        up = b.op("Add", up, b.constant(np.array(act.beta, dtype)))
    return b.op("Mul", _bent(b, gate, act, dtype), up)


def _bent(b: Builder, x: ir.Value, act: Activation, dtype: np.dtype) -> ir.Value:
    if act.kind == "silu":
        factor = b.constant(np.array(act.alpha, dtype))
        return b.op("Mul", x, b.op("Sigmoid", x if act.alpha == 1 else b.op("Mul", x, factor)))
    if act.kind == "gelu":
        return b.op("FastGelu", x, domain="com.microsoft")
    return b.op("Relu", x) if act.kind == "relu" else x


def gates_and_ups(b: Builder, gates: Matrices, ups: Matrices) -> Matrices:
    """Two matrices of each expert as one: its gates, then its ups."""
    first, third = gates.weight.const_value, ups.weight.const_value
    if first is None or third is None or first.shape != third.shape:
        raise Miss("its gates and ups are of different sizes")
    name = unique_name(b.graph, f"{gates.weight.name}/gates_ups")
    weight = add_tensor(b.graph, joined_by_expert(first, third, gates.experts, name))
    biases = [constant(each.bias) for each in (gates, ups)]
    if all(bias is None for bias in biases):
        return Matrices(gates.experts, weight)
    wide = first.shape.numpy()[1] // gates.experts
    zeros = np.zeros((gates.experts, wide), first.dtype.numpy())
    both = np.concatenate([zeros if bias is None else bias for bias in biases], axis=1)
    return Matrices(gates.experts, weight, b.constant(both, f"{name}.bias"))
