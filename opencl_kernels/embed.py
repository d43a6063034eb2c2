"""Embedding: rows of a table in the layout n16, which the output matrix of tied weights shares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from opencl_kernels.formats import Array, unpack_n16
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


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """y[m] = table[tokens[m]]; a piece (V0 given) writes only the rows whose ids it holds."""
    table_VD = unpack_n16(inputs["table"], case["V"], case["D"]).astype(np.float64)
    tokens_M = inputs["tokens"] - case.get("V0", 0)
    y_MD = table_VD[np.clip(tokens_M, 0, case["V"] - 1)]
    if "V0" in case:
        mine = (tokens_M >= 0) & (tokens_M < case["V"])
        y_MD = np.where(mine[:, None], y_MD, inputs["y"].astype(np.float64))
    return {"y": y_MD}


def _arguments(case: Case) -> tuple[Argument, ...]:
    return (
        Argument("tokens", "i32", lambda c: (c["M"],), "in"),
        Argument("table", "w", lambda c: (ceil_div(c["V"], 16), c["D"], 16), "weight"),
        Argument("y", "y", lambda c: (c["M"], c["D"]), "inout" if "V0" in case else "out"),
    )


def _defines(case: Case, knobs: Knobs) -> Defines:
    return {
        **storage_defines(case, "w", "y"),
        "D": case["D"],
        "V": case["V"],
        "PIECE": int("V0" in case),
        "V0": case.get("V0", 0),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Case, knobs: Knobs) -> Grid:
    return item_grid(case["M"] * ceil_div(case["D"], 16), knobs)


def _work(case: Case) -> tuple[int, int]:
    everything = nbytes(_arguments(case), case)
    return everything - nbytes(_arguments(case)[1:2], case) * (case["V"] - case["M"]) // case[
        "V"
    ], 0


EMBED = Kernel(
    name="embed",
    source="embed.cl",
    classes=("cpu", "generic"),
    arguments=_arguments,
    reference=reference,
    defines=_defines,
    grid=_grid,
    work=_work,
    knobs={"GROUPS": (8, 0, 1)},
    cases=(
        {"M": 1, "V": 7, "D": 5},
        {"M": 7, "V": 65, "D": 63},
        {"M": 9, "V": 97, "D": 64, "w": "f16", "seq": 9},
        {"M": 12, "V": 33, "D": 40, "w": "f16", "y": "f16", "B": 2, "seq": 6},
        {"M": 40, "V": 23, "V0": 16, "D": 17},
    ),
)
