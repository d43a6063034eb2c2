"""RMSNorm (Zhang & Sennrich 2019, eq. 4) over the last axis, a residual sum before or after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from opencl_kernels.case import At, Case, Defines, Size, c_float
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

LAST_ROWS = "((m)/ROWS*SEQ+SEQ-ROWS+(m)%ROWS)"


@dataclass(frozen=True, kw_only=True)
class Rows(Case):
    """y[M, D] = x / sqrt(mean(x^2) + EPS) * gamma."""

    M: Size
    D: int
    EPS: float
    x: str = "f32"
    y: str = "f32"
    residual: bool = False  # r is added to the norm


def input_rows(case: Rows) -> Array:
    """The input row of every output row: all, or the last `rows` of each text's `seq`."""
    if not case.last_rows:
        return np.arange(int(case.M))
    seq, rows = case.symbols.seq, case.symbols.rows
    return np.array([b * seq + seq - rows + i for b in range(case.B) for i in range(rows)])


def reference(inputs: Mapping[str, Array], case: Rows) -> dict[str, Array]:
    """y = x / sqrt(mean(x^2) + EPS) * gamma, x perhaps the sum of two inputs; perhaps plus r."""
    x_MD = inputs["x"].astype(np.float64)[input_rows(case)]
    added = "r" in inputs and not case.residual
    if added:
        x_MD = x_MD + inputs["r"].astype(np.float64)[input_rows(case)]
    mean_M1 = np.mean(x_MD * x_MD, axis=-1, keepdims=True)
    y_MD = x_MD / np.sqrt(mean_M1 + case.EPS) * inputs["gamma"]
    if case.residual:
        y_MD = y_MD + inputs["r"]
    return {"sum": x_MD, "y": y_MD} if added else {"y": y_MD}


def _arguments(case: Rows, add: bool) -> tuple[Argument, ...]:
    rows = case.B * case.symbols.seq if case.last_rows else case.M
    x, r = (Argument(name, case.x, (rows, case.D), "in") for name in ("x", "r"))
    gamma = Argument("gamma", "f32", (case.D,), "weight")
    total = Argument("sum", case.x, (case.M, case.D), "out")
    y = Argument("y", case.y, (case.M, case.D), "out")
    if add:
        return (x, r, gamma, total, y)
    rest = (Argument("r", case.x, (case.M, case.D), "in"),) if case.residual else ()
    return (x, *rest, gamma, y)


def _defines(case: Rows, knobs: Knobs, add: bool) -> Defines:
    defines: Defines = {
        **storage_defines(case, "x", "y"),
        "ADD": int(add),
        "D": case.D,
        "EPS": c_float(case.EPS),
        "ROW(m)": LAST_ROWS if case.last_rows else "(m)",
        **({"RESIDUAL": 1} if case.residual else {}),
    }
    return {**defines, "WG": knobs["WG"]} if "WG" in knobs else defines


def _row_grid(case: Any, knobs: Knobs) -> Grid:
    return (case.M * knobs["WG"],), (knobs["WG"],)


def _work(case: Any, add: bool) -> tuple[int, int]:
    return nbytes(_arguments(case, add)), (5 if add else 4) * case.M * case.D


CASES = (
    Rows(M=1, D=5, EPS=1e-5),
    Rows(M=7, D=63, EPS=1e-6),
    Rows(M=2, D=768, EPS=1e-6, at=At(seq=2)),
    Rows(M=3, D=65, EPS=1e-5, x="f16", y="f16"),
    Rows(M=1, D=64, EPS=1e-5, last_rows=True, at=At(seq=5, rows=1)),
    Rows(M=6, D=30, EPS=1e-5, last_rows=True, B=2, at=At(seq=7, rows=3)),
)
BEFORE_SUMS = (
    Rows(M=1, D=65, EPS=1e-6, residual=True),
    Rows(M=7, D=63, EPS=1e-5, residual=True, x="f16", y="f16", at=At(seq=7)),
    Rows(M=2, D=37, EPS=1e-5, residual=True, last_rows=True, B=2, at=At(seq=5, rows=1)),
)
BENCH_CASES = tuple(Rows(M=m, D=d, EPS=1e-5, at=At(seq=m)) for m in (1, 512) for d in (768, 2048))


def _family(name: str, add: bool) -> Family:
    on_cpu = Kernel(
        name=f"{name}_cpu",
        source="rmsnorm_cpu.cl",
        classes=("cpu",),
        defines=partial(_defines, add=add),
        grid=worker_grid,
        knobs={"WORKERS": (8, 3)},
    )
    portable = Kernel(
        name=name,
        source="rmsnorm.cl",
        classes=("generic",),
        defines=partial(_defines, add=add),
        grid=_row_grid,
        knobs={"WG": (64, 16)},
        requires=lambda _, knobs: Requires(local_bytes=4 * knobs["WG"]),  # a sum of squares each
    )
    return Family(
        name=name,
        case=Rows,
        arguments=partial(_arguments, add=add),
        reference=reference,
        work=partial(_work, add=add),
        cases=CASES if add else BEFORE_SUMS + CASES,
        bench_cases=BENCH_CASES,
        kernels=(on_cpu, portable),
    )


RMSNORM = _family("rmsnorm", add=False)
ADD_RMSNORM = _family("add_rmsnorm", add=True)
