"""Records times an activation: as rows of a matrix, or as its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opencl_kernels.case import At, Defines, Size, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Grid,
    Kernel,
    Knobs,
    Requires,
    nbytes,
    storage_defines,
    worker_grid,
)
from opencl_kernels.layouts import F16, quantized
from opencl_kernels.records import gathered
from opencl_kernels.records.gathered import Gathered, shares


@dataclass(frozen=True, kw_only=True)
class RecordRows(Gathered):
    """v[m, i] = first part of record i . x[m]; elements of other indices stay."""

    M: Size
    x: str = "f32"


@dataclass(frozen=True, kw_only=True)
class RecordColumns(Gathered):
    """acc[g, m] += sum over its share of c[m, i] * record i, whose parts follow each other."""

    M: Size
    G: int  # partial sums
    x: str = "f32"  # of c


def rows_reference(inputs: Mapping[str, Array], case: RecordRows) -> dict[str, Array]:
    """Only the columns of the ticket's indices."""
    indices, parts = case.chosen(inputs)
    v_MF = inputs["v"].astype(np.float64)
    v_MF[:, indices] = inputs["x"].astype(np.float64) @ parts[0].T
    return {"v": v_MF}


def columns_reference(inputs: Mapping[str, Array], case: RecordColumns) -> dict[str, Array]:
    """Each share of the ticket's records by itself."""
    indices, parts = case.chosen(inputs)
    c_MR = inputs["c"][:, indices].astype(np.float64)
    whole = np.concatenate(parts, axis=1)
    each = [c_MR[:, share] @ whole[share] for share in shares(len(indices), case.G)]
    return gathered.summed(inputs, "acc", np.stack(each))


def _rows_arguments(case: RecordRows) -> tuple[Argument, ...]:
    x = Argument("x", case.x, (case.M, case.D), "in")
    return (*case.gathered(), x, Argument("v", "f32", (case.M, case.F), "inout"))


def _columns_arguments(case: RecordColumns) -> tuple[Argument, ...]:
    c = Argument("c", case.x, (case.M, case.F), "in")
    acc = Argument("acc", "f32", (case.G, case.M, case.PARTS * case.D), "inout")
    return (*case.gathered(), c, acc)


def _defines(case: Any, knobs: Knobs) -> Defines:
    own = {"G": case.G} if isinstance(case, RecordColumns) else {}
    return {**gathered.defines(case), **storage_defines(case, "x"), **own, **knobs}


def _rows_work(case: RecordRows) -> tuple[int, int]:
    return case.T * (case.record.part_bytes + 4 * case.M), 2 * case.M * case.T * case.D


def _columns_work(case: RecordColumns) -> tuple[int, int]:
    moved = case.T * case.record.nbytes + nbytes(_columns_arguments(case)[2:])
    return moved, 2 * case.M * case.T * case.PARTS * case.D


def _rows_grid(case: RecordRows, knobs: Knobs) -> Grid:
    return (ceil_div(case.T, 4) * knobs["WG"], case.M), (knobs["WG"], 1)


def _columns_grid(case: RecordColumns, knobs: Knobs) -> Grid:
    """By eights of all parts; those of codes come in whole blocks."""
    eights = case.record.groups * case.w.group // 8 if case.w.bits else ceil_div(case.D, 8)
    groups = ceil_div(case.PARTS * eights, knobs["WG"])
    return (groups * knobs["WG"], case.G, case.M), (knobs["WG"], 1, 1)


E0M4, SYMMETRIC = quantized("e0m4", 32, "f16", "u8"), quantized("e0m4", 32, "f16")
SMALL: dict[str, Any] = {"S": 9, "T": 7, "F": 20}
ROWS = Family(
    name="record_rows",
    case=RecordRows,
    arguments=_rows_arguments,
    reference=rows_reference,
    work=_rows_work,
    cases=(
        RecordRows(M=1, PARTS=3, D=65, w=E0M4, **SMALL),
        RecordRows(M=3, PARTS=1, D=63, w=F16, x="f16", **SMALL, at=At(seq=3)),
        RecordRows(M=2, PARTS=2, D=7, w=SYMMETRIC, B=2, at=At(seq=1), **SMALL),
        RecordRows(M=5, PARTS=3, D=1030, w=quantized("e0m4", 256, "f16"), S=65, T=65, F=65,
                   at=At(seq=5)),
    ),
    bench_cases=(RecordRows(M=1, PARTS=3, D=2048, w=E0M4, S=1024, T=1024, F=5632),),
    kernels=(
        Kernel(
            name="record_rows_cpu",
            source="record_rows_cpu.cl",
            classes=("cpu",),
            defines=_defines,
            grid=worker_grid,
            knobs={"WORKERS": (8, 2, 3), "PREFETCH": (8, 0, 4, 16)},
        ),
        Kernel(
            name="record_rows",
            source="record_rows.cl",
            classes=("generic",),
            defines=_defines,
            grid=_rows_grid,
            knobs={"WG": (64, 128, 32)},
            requires=lambda _, knobs: Requires(local_bytes=16 * knobs["WG"]),  # four sums of each
        ),
    ),
)  # fmt: skip
COLUMNS = Family(
    name="columns",
    case=RecordColumns,
    arguments=_columns_arguments,
    reference=columns_reference,
    work=_columns_work,
    cases=(
        RecordColumns(M=1, PARTS=1, D=65, w=E0M4, G=1, **SMALL),
        RecordColumns(M=3, PARTS=2, D=63, w=F16, x="f16", G=2, **SMALL, at=At(seq=3)),
        RecordColumns(M=2, PARTS=2, D=7, w=SYMMETRIC, B=2, G=3, at=At(seq=1), **SMALL),
        RecordColumns(M=1, PARTS=2, D=515, w=F16, G=1, S=20, T=14, F=15),
        RecordColumns(M=1, PARTS=2, D=2100, w=quantized("e0m4", 64, "f16", "u8"), G=1, S=65, T=65,
                      F=65, x="f16"),
    ),
    bench_cases=(
        RecordColumns(M=1, PARTS=2, D=5632, w=E0M4, S=1024, T=1024, F=2048, G=4),
        RecordColumns(M=1, PARTS=1, D=2048, w=E0M4, S=2816, T=2816, F=5632, G=8),
    ),
    kernels=(
        Kernel(
            name="columns_cpu",
            source="columns_cpu.cl",
            classes=("cpu",),
            defines=_defines,
            grid=worker_grid,
            knobs={"WORKERS": (8, 2, 3), "PREFETCH": (8, 0, 4, 16)},
        ),
        Kernel(
            name="columns",
            source="columns.cl",
            classes=("generic",),
            defines=_defines,
            grid=_columns_grid,
            knobs={"WG": (64, 32, 128)},
        ),
    ),
)  # fmt: skip
