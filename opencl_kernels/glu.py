"""Gated linear units (Shazeer 2020, eq. 5 and 6, without the matrices): act(gate) * up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from opencl_kernels.formats import Array, padded
from opencl_kernels.kernel import (
    Argument,
    Case,
    Defines,
    Grid,
    Kernel,
    Knobs,
    ceil_div,
    item_grid,
    local_size,
    nbytes,
    storage_defines,
)

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {  # in the order of the define ACT
    "silu": lambda x: np.asarray(x / (1 + np.exp(-x))),
    "relu": lambda x: np.maximum(x, 0),
}


def gated(pairs: Array, case: Case) -> Array:
    """act(gate) * up of [M, blocks, 2, 16]."""
    return ACTIVATIONS[case.get("act", "silu")](pairs[:, :, 0]) * pairs[:, :, 1]


def activation_define(case: Case) -> Defines:
    """ACT: the place of the case's activation among those known."""
    return {"ACT": list(ACTIVATIONS).index(case.get("act", "silu"))}


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """act(gate) * up of the first F columns; gate and up are interleaved by 16."""
    pairs = inputs["gu"].astype(np.float64).reshape(case["M"], -1, 2, 16)
    return {"y": gated(pairs, case).reshape(case["M"], -1)[:, : case["F"]]}


def _arguments(case: Case) -> tuple[Argument, ...]:
    return (
        Argument("gu", "x", lambda c: (c["M"], 2 * padded(c["F"])), "in"),
        Argument("y", "y", lambda c: (c["M"], c["F"]), "out"),
    )


def _defines(case: Case, knobs: Knobs) -> Defines:
    sizes: Defines = {"F": case["F"], "LOCAL": local_size(knobs)}
    return {**storage_defines(case, "x", "y"), **activation_define(case), **sizes}


def _grid(case: Case, knobs: Knobs) -> Grid:
    return item_grid(case["M"] * ceil_div(case["F"], 16), knobs)


def _work(case: Case) -> tuple[int, int]:
    return nbytes(_arguments(case), case), 5 * case["M"] * case["F"]


GLU = Kernel(
    name="glu",
    source="glu.cl",
    classes=("cpu", "generic"),
    arguments=_arguments,
    reference=reference,
    defines=_defines,
    grid=_grid,
    work=_work,
    knobs={"GROUPS": (8, 0)},
    cases=(
        {"M": 1, "F": 7},
        {"M": 7, "F": 65, "seq": 7, "act": "relu"},
        {"M": 4, "F": 64, "x": "f16", "y": "f16", "seq": 2, "B": 2},
    ),
)
