"""Gated linear units (Shazeer 2020, eq. 5 and 6, without the matrices): act(gate) * up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from opencl_kernels.formats import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {  # in the order of the define ACT
    "silu": lambda x: np.asarray(x * (0.5 + 0.5 * np.tanh(x / 2))),  # x * sigmoid(x)
    "relu": lambda x: np.maximum(x, 0),
}


@dataclass(frozen=True)
class Glu:
    """A gated unit at the end of a product of gates and ups, interleaved by 16 rows."""

    F: int  # columns of the unit
    activation: str = "silu"  # of the gate, unless an epilogue says what becomes of both

    def __post_init__(self) -> None:
        """Refuse what no kernel computes."""
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"no kernel computes the activation {self.activation!r}")

    def __call__(self, gates_ups: Array) -> Array:
        """act(gate) * up: [M, 2 * FP] -> [M, FP]."""
        return self.unit(*self.halves(gates_ups))

    def halves(self, gates_ups: Array) -> tuple[Array, Array]:
        """Gates and ups apart: [M, 2 * FP] -> twice [M, FP]."""
        pairs = gates_ups.reshape(len(gates_ups), -1, 2, 16)
        gate, up = (pairs[:, :, i].reshape(len(gates_ups), -1) for i in range(2))
        return gate, up

    def unit(self, gate: Array, up: Array) -> Array:
        """act(gate) * up."""
        return np.asarray(ACTIVATIONS[self.activation](gate) * up)

    @property
    def act(self) -> int:
        """The define ACT: the place of the activation among those known."""
        return list(ACTIVATIONS).index(self.activation)
