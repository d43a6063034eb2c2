"""Embedding: rows of a table in the layout n16, which the output matrix of tied weights shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opencl_kernels.case import At, Case, Defines, Size, ceil_div
from opencl_kernels.family import Family, token_ids
from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Grid,
    Kernel,
    Knobs,
    item_grid,
    local_size,
    nbytes,
    storage_defines,
)
from opencl_kernels.layouts import (
    F16,
    F32,
    LAYOUTS,
    Stored,
    quantized,
    stored_rows,
    weight_arguments,
)


@dataclass(frozen=True, kw_only=True)
class Lookup(Case):
    """y[m] = table[tokens[m]] of a table [V, D], or of its rows from V0 on."""

    M: Size
    V: int
    D: int
    V0: int | None = None  # the first row of a piece, which writes only the rows that it holds
    w: Stored = F32
    y: str = "f32"


def reference(inputs: Mapping[str, Array], case: Lookup) -> dict[str, Array]:
    """Ids beyond the table read its nearest row; a piece leaves the rows of others as they are."""
    tokens_M = inputs["tokens"] - (case.V0 or 0)
    y_MD = stored_rows(inputs, case.w, case.D, np.clip(tokens_M, 0, case.V - 1))
    if case.V0 is not None:
        mine = (tokens_M >= 0) & (tokens_M < case.V)
        y_MD = np.where(mine[:, None], y_MD, inputs["y"].astype(np.float64))
    return {"y": y_MD}


def _arguments(case: Lookup) -> tuple[Argument, ...]:
    ids = token_ids((case.M,), (case.V0 or 0) + case.V)
    return (
        Argument("tokens", "i32", (case.M,), "in", random=ids),
        *weight_arguments(case.w, case.V, case.D),
        Argument("y", case.y, (case.M, case.D), "out" if case.V0 is None else "inout"),
    )


def _defines(case: Lookup, knobs: Knobs) -> Defines:
    return {
        **storage_defines(case, "y"),
        **LAYOUTS[case.w.layout].defines(case.w),
        "D": case.D,
        "V": case.V,
        "PIECE": int(case.V0 is not None),
        "V0": case.V0 or 0,
        "LOCAL": local_size(knobs),
    }


def _grid(case: Lookup, knobs: Knobs) -> Grid:
    return item_grid(case.M * ceil_div(case.D, 16), knobs)


def _work(case: Any) -> tuple[int, int]:
    _, *table, y = _arguments(case)
    return nbytes(tuple(table)) * case.M // case.V + nbytes((y,)), 0


EMBED = Kernel(
    name="embed",
    source="embed.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,)},
)
FAMILY = Family(
    name="embed",
    case=Lookup,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=(
        Lookup(M=1, V=7, D=5),
        Lookup(M=7, V=65, D=63),
        Lookup(M=9, V=97, D=64, w=F16, at=At(seq=9)),
        Lookup(M=12, V=33, D=40, w=F16, y="f16", B=2, at=At(seq=6)),
        Lookup(M=40, V=23, V0=16, D=17),
        Lookup(M=9, V=65, D=40, w=quantized("e0m4", 32, "f16", "u8")),
        Lookup(M=21, V=33, V0=16, D=65, w=quantized("q8", 16, "f32")),
    ),
    bench_cases=(
        Lookup(M=1, V=32000, D=768),
        Lookup(M=512, V=32000, D=2048, at=At(seq=512)),
    ),
    kernels=(EMBED,),
)
