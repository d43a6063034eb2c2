"""A feed-forward network in numpy, neuron by neuron, so that some of them can be left out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Columns, Ffn
from onnx_passes.ir.graph import constant, needed, operand
from onnx_passes.weights.lazy import part
from opencl_kernels.formats import Array
from opencl_kernels.map.expression import Node, evaluate
from opencl_kernels.records.neurons import activation
from toolkit.offload.legality import CALIBRATED, LEGALITY, verdict

TRIED = np.concatenate([-np.logspace(2, -3, 40), [0], np.logspace(-3, 2, 40)])  # arguments
GELU = "0.5 * v * (1.0 + Erf(v * 0.7071067811865476))"
GATED = {"relu": "reglu", "silu": "swiglu", "gelu": "geglu"}
# Kinds with neurons that are zero: what predicts these loses only what it misses.
ZEROING = frozenset(kind for kind in LEGALITY if verdict(kind, "lowrank") is CALIBRATED)


@dataclass(frozen=True)
class Neurons:
    """h = act(x Gᵀ + bg) * up_act(x Uᵀ + bu), y = h W + bd; without a gate h = up_act(x Uᵀ + bu).

    gate, up, down  float32 [F, D]: a row a neuron
    """

    gate: Array | None
    up: Array
    down: Array
    gate_bias: Array | None
    up_bias: Array | None
    down_bias: Array | None
    act: Node
    up_act: Node

    @classmethod
    def of(cls, ffn: Ffn) -> Neurons:
        """Those of a network of the graph; its weights are read here."""
        bias = operand(ffn.down, 2)
        return cls(
            None if ffn.gate is None else _rows(ffn.gate),
            _rows(ffn.up),
            np.asarray(_matrix(needed(ffn.down, 1)), np.float32),
            None if ffn.gate is None else _bias(ffn.gate),
            _bias(ffn.up),
            None if bias is None else np.asarray(constant(bias), np.float32),
            activation(ffn.act),
            activation(ffn.up_act),
        )

    @property
    def deciding(self) -> tuple[Array, Array | None]:
        """Matrix and bias of what makes a neuron zero: of gates, or of up where there are none."""
        return (self.up, self.up_bias) if self.gate is None else (self.gate, self.gate_bias)

    def gates(self, x_MD: Array) -> Array:
        """What gates are before their activation, float32 [M, F]."""
        assert self.gate is not None
        return _product(x_MD, self.gate, self.gate_bias)

    def hidden(self, x_MD: Array) -> Array:
        """h, float32 [M, F]."""
        up = _applied(self.up_act, _product(x_MD, self.up, self.up_bias))
        if self.gate is None:
            return up
        return _applied(self.act, self.gates(x_MD)) * up

    def output(self, h_MF: Array) -> Array:
        """y, float32 [M, D]."""
        y = h_MF @ self.down
        return y if self.down_bias is None else y + self.down_bias

    @cached_property
    def sizes(self) -> Array:
        """The length of what each neuron adds for h = 1, float32 [F]."""
        return np.asarray(np.linalg.norm(self.down, axis=1))


def kind_of(ffn: Ffn) -> str:
    """As toolkit/offload/legality.py calls it, found by what its activation computes."""
    up = _kind(activation(ffn.up_act))
    if ffn.gate is None:
        return up
    act = _kind(activation(ffn.act))
    return "drelu" if act == up == "relu" else GATED.get(act, "swiglu")


def _rows(columns: Columns) -> Array:
    tensor = columns.weight.const_value
    assert tensor is not None
    first = columns.first
    found = part(tensor, 1, first, first + columns.width)
    return np.ascontiguousarray(np.asarray(found, np.float32).T)


def _matrix(value: ir.Value) -> Array:
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy())


def _bias(columns: Columns) -> Array | None:
    if columns.bias is None:
        return None
    whole = np.asarray(constant(columns.bias), np.float32).reshape(-1)
    return whole[columns.first : columns.first + columns.width]


def _product(x_MD: Array, rows_FD: Array, bias: Array | None) -> Array:
    y = x_MD.astype(np.float32) @ rows_FD.T
    return y if bias is None else y + bias


def _applied(node: Node, values: Array) -> Array:
    return np.asarray(evaluate(node, {"v": values}), np.float32)


def _kind(node: Node) -> str:
    """Of an activation; one that is none of those known is zero nowhere, as `silu` is."""
    found = _applied(node, TRIED)
    if not found[TRIED <= 0].any():
        positive = TRIED[TRIED > 0]
        return "sqrelu" if np.allclose(found[TRIED > 0], positive**2, rtol=1e-4) else "relu"
    gelu = np.asarray(evaluate(activation(GELU), {"v": TRIED}))
    return "gelu" if np.allclose(found, gelu, atol=2e-3) else "silu"
