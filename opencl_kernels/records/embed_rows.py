"""Rows of an embedding that lies in flash: of a text's ids those whose records are in slots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sympy import Min

from opencl_kernels.case import At, Defines, Size, ceil_div
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
from opencl_kernels.layouts import F16, F32, quantized
from opencl_kernels.records import gathered
from opencl_kernels.records.gathered import Gathered


@dataclass(frozen=True, kw_only=True)
class EmbedRows(Gathered):
    """y[m] = the record of tokens[m], where the ticket has it; other rows of y stay."""

    M: Size
    y: str = "f32"


def reference(inputs: Mapping[str, Array], case: EmbedRows) -> dict[str, Array]:
    """Ids may come several times."""
    indices, parts = case.chosen(inputs)
    y_MD = inputs["y"].astype(np.float64)
    for index, row in zip(indices, parts[0], strict=True):
        y_MD[inputs["tokens"] == index] = row
    return {"y": y_MD}


def _arguments(case: EmbedRows) -> tuple[Argument, ...]:
    tokens = Argument("tokens", "i32", (case.M,), "in", random=token_ids((case.M,), case.F))
    return (*case.gathered(), tokens, Argument("y", case.y, (case.M, case.D), "inout"))


def _defines(case: EmbedRows, knobs: Knobs) -> Defines:
    local = {"LOCAL": local_size(knobs)}
    return {**gathered.defines(case), **storage_defines(case, "y"), **local}


def _grid(case: EmbedRows, knobs: Knobs) -> Grid:
    """By eights; those of codes of 4 bits come in whole blocks.

    To wake a core costs more than a row: fat work-items are no more than rows.
    """
    if knobs["WORKERS"]:
        return (Min(knobs["WORKERS"], case.M),), (1,)
    eights = case.record.groups * case.w.group // 8 if case.w.bits == 4 else ceil_div(case.D, 8)
    return item_grid(case.M * eights, knobs)


def _work(case: EmbedRows) -> tuple[int, int]:
    *_, tokens, y = _arguments(case)
    return case.T * case.record.nbytes + nbytes((tokens, y)), 0


SMALL: dict[str, Any] = {"PARTS": 1, "S": 9, "T": 7, "F": 20}
E0M4 = quantized("e0m4", 32, "f16", "u8")
FAMILY = Family(
    name="embed_rows",
    case=EmbedRows,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=(
        EmbedRows(M=1, D=65, w=E0M4, **SMALL),
        EmbedRows(M=31, D=63, w=F16, y="f16", **SMALL, at=At(seq=31)),
        EmbedRows(M=5, D=65, w=E0M4, PARTS=1, S=20, T=0, F=20),
        EmbedRows(M=24, D=7, w=F32, B=2, at=At(seq=12), **SMALL),
        EmbedRows(M=25, D=300, w=quantized("e0m4", 64, "f16"), **SMALL, at=At(seq=25)),
        EmbedRows(M=25, D=65, w=quantized("q8", 32, "f32", "f32"), **SMALL, at=At(seq=25)),
        EmbedRows(M=25, D=130, w=quantized("q8", 16, "f32"), y="f16", **SMALL, at=At(seq=25)),
    ),
    bench_cases=(
        EmbedRows(M=1, PARTS=1, D=768, w=E0M4, S=1, T=1, F=32000),
        EmbedRows(M=512, PARTS=1, D=2048, w=F16, S=64, T=64, F=32000, at=At(seq=512)),
    ),
    kernels=(
        Kernel(
            name="embed_rows",
            source="embed_rows.cl",
            classes=("cpu", "generic"),
            defines=_defines,
            grid=_grid,
            knobs={"WORKERS": (0,)},
        ),
    ),
)
