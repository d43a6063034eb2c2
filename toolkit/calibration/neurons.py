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
from opencl_kernels.map.expression import Node
from opencl_kernels.records.neurons import activation
from toolkit.compiler.budget.ffn_kind import applied
from toolkit.offload.legality import CALIBRATED, LEGALITY, verdict

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

    def gated(self, x_MD: Array) -> Array:
        """What gates are behind their activation, float32 [M, F]."""
        return applied(self.act, self.gates(x_MD))

    def hidden(self, x_MD: Array) -> Array:
        """h, float32 [M, F]."""
        up = applied(self.up_act, _product(x_MD, self.up, self.up_bias))
        return up if self.gate is None else self.gated(x_MD) * up

    def output(self, h_MF: Array) -> Array:
        """y, float32 [M, D]."""
        y = h_MF @ self.down
        return y if self.down_bias is None else y + self.down_bias

    @property
    def products(self) -> int:
        """How many there are."""
        return 2 if self.gate is None else 3

    @property
    def numbers(self) -> int:
        """Of all matrices."""
        return self.up.size * self.products

    @cached_property
    def sizes(self) -> Array:
        """The length of what each neuron adds for h = 1, float32 [F]."""
        return np.asarray(np.linalg.norm(self.down, axis=1))


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
