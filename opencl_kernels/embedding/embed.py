"""Embedding: rows of a table in the layout n16, which the output matrix of tied weights shares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from opencl_kernels.formats import Array
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
from opencl_kernels.matmul import matmul


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """y[m] = table[tokens[m]]; a piece (V0 given) writes only the rows whose ids it holds."""
    table_VD = matmul.weight_values(inputs, case, "w", case["V"], case["D"])
    tokens_M = inputs["tokens"] - case.get("V0", 0)
    y_MD = table_VD[np.clip(tokens_M, 0, case["V"] - 1)]
    if "V0" in case:
        mine = (tokens_M >= 0) & (tokens_M < case["V"])
        y_MD = np.where(mine[:, None], y_MD, inputs["y"].astype(np.float64))
    return {"y": y_MD}


def _arguments(case: Case) -> tuple[Argument, ...]:
    return (
        Argument("tokens", "i32", lambda c: (c["M"],), "in"),
        *matmul.weight_arguments(case, "w", "V", "D"),
        Argument("y", "y", lambda c: (c["M"], c["D"]), "inout" if "V0" in case else "out"),
    )


def _defines(case: Case, knobs: Knobs) -> Defines:
    return {
        **storage_defines(case, "y"),
        **matmul.weight_defines(case),
        "D": case["D"],
        "V": case["V"],
        "PIECE": int("V0" in case),
        "V0": case.get("V0", 0),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Case, knobs: Knobs) -> Grid:
    return item_grid(case["M"] * ceil_div(case["D"], 16), knobs)


def _work(case: Case) -> tuple[int, int]:
    _, *table, y = _arguments(case)
    rows = nbytes(tuple(table), case) * case["M"] // case["V"]
    return rows + nbytes((y,), case), 0


EMBED = Kernel(
    name="embed",
    source="embed.cl",
    classes=("cpu", "generic"),
    arguments=_arguments,
    reference=reference,
    defines=_defines,
    grid=_grid,
    work=_work,
    knobs={"WORKERS": (8, 0, 1)},
    cases=(
        {"M": 1, "V": 7, "D": 5},
        {"M": 7, "V": 65, "D": 63},
        {"M": 9, "V": 97, "D": 64, "w": "f16", "seq": 9},
        {"M": 12, "V": 33, "D": 40, "w": "f16", "y": "f16", "B": 2, "seq": 6},
        {"M": 40, "V": 23, "V0": 16, "D": 17},
        {"M": 9, "V": 65, "D": 40, "w": "e0m4", "GROUP": 32, "scale": "f16", "zero": "u8"},
        {"M": 21, "V": 33, "V0": 16, "D": 65, "w": "q8", "GROUP": 16, "scale": "f32"},
    ),
)
