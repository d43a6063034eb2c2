"""Gated linear units (Shazeer 2020, eq. 5 and 6, without the matrices): act(gate) * up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from opencl_kernels.formats import Array
from opencl_kernels.kernel import Case, Defines

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {  # in the order of the define ACT
    "silu": lambda x: np.asarray(x * (0.5 + 0.5 * np.tanh(x / 2))),  # x * sigmoid(x)
    "relu": lambda x: np.maximum(x, 0),
}


def gated(pairs: Array, case: Case) -> Array:
    """act(gate) * up of [M, blocks, 2, 16]."""
    return ACTIVATIONS[case.get("act", "silu")](pairs[:, :, 0]) * pairs[:, :, 1]


def activation_define(case: Case) -> Defines:
    """ACT: the place of the case's activation among those known."""
    return {"ACT": list(ACTIVATIONS).index(case.get("act", "silu"))}
