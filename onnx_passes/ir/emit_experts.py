"""`pocket.Experts` with what stands around it: what a token's experts make, weighed and summed."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import Builder
from onnx_passes.ir.graph import DOMAIN


class Choice(NamedTuple):
    """What a router says of M tokens: their k experts, and how much each counts."""

    indices: ir.Value  # int64 [M, k]
    gates: ir.Value  # [M, k]


class Matrices(NamedTuple):
    """The weights of E experts side by side, [K, E * N], and their biases [E, N]."""

    experts: int
    weight: ir.Value
    bias: ir.Value | None = None


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
    """What the chosen experts make of x [M, K], weighed and summed: [M, N]."""
    axis = b.constant(np.array([1], np.int64))
    inner = products(b, b.op("Unsqueeze", x, axis), first, choice.indices)
    dtype = (first.weight.dtype or ir.DataType.FLOAT).numpy()
    outputs = products(b, activated(b, inner, act, dtype), last, choice.indices)
    gates = b.op("Unsqueeze", choice.gates, b.constant(np.array([-1], np.int64)))
    return b.op("ReduceSum", b.op("Mul", outputs, gates), axis, keepdims=0)


def products(b: Builder, x: ir.Value, matrices: Matrices, indices: ir.Value) -> ir.Value:
    """[M, k, N] of x [M, 1, K] or [M, k, K]."""
    inputs = (x, matrices.weight, indices)
    if matrices.bias is None:
        return b.op("Experts", *inputs, domain=DOMAIN, experts=matrices.experts)
    biased = (*inputs, matrices.bias)
    return b.op("Experts", *biased, domain=DOMAIN, overload="bias", experts=matrices.experts)


def activated(b: Builder, x: ir.Value, act: Activation, dtype: np.dtype) -> ir.Value:
    """The activation of x [M, k, F], or [M, k, 2F] where it is gated: gates, then ups."""
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
