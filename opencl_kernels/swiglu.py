"""SwiGLU (Shazeer 2020, eq. 6 without the matrices): silu(gate) * up, interleaved by 16."""

from __future__ import annotations

from collections.abc import Mapping

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


def silu(x: Array) -> Array:
    """x * sigmoid(x), element by element."""
    return np.asarray(x / (1 + np.exp(-x)))


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """silu(gate) * up of the first F columns."""
    pairs = inputs["gu"].astype(np.float64).reshape(case["M"], -1, 2, 16)
    y = silu(pairs[:, :, 0]) * pairs[:, :, 1]
    return {"y": y.reshape(case["M"], -1)[:, : case["F"]]}


def _arguments(case: Case) -> tuple[Argument, ...]:
    return (
        Argument("gu", "x", lambda c: (c["M"], 2 * padded(c["F"])), "in"),
        Argument("y", "y", lambda c: (c["M"], c["F"]), "out"),
    )


def _defines(case: Case, knobs: Knobs) -> Defines:
    return {**storage_defines(case, "x", "y"), "F": case["F"], "LOCAL": local_size(knobs)}


def _grid(case: Case, knobs: Knobs) -> Grid:
    return item_grid(case["M"] * ceil_div(case["F"], 16), knobs)


def _work(case: Case) -> tuple[int, int]:
    return nbytes(_arguments(case), case), 5 * case["M"] * case["F"]


SWIGLU = Kernel(
    name="swiglu",
    source="swiglu.cl",
    classes=("cpu", "generic"),
    arguments=_arguments,
    reference=reference,
    defines=_defines,
    grid=_grid,
    work=_work,
    knobs={"GROUPS": (8, 0)},
    cases=(
        {"M": 1, "F": 7},
        {"M": 7, "F": 65, "seq": 7},
        {"M": 4, "F": 64, "x": "f16", "y": "f16", "seq": 2, "B": 2},
    ),
)
