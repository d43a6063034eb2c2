"""RMSNorm (Zhang & Sennrich 2019, eq. 4) over the last axis, alone and after a residual sum."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from opencl_kernels.formats import Array
from opencl_kernels.kernel import (
    Argument,
    Case,
    Defines,
    Grid,
    Kernel,
    Knobs,
    c_float,
    cpu_grid,
    nbytes,
    storage_defines,
)

LAST_ROWS = "((m)/ROWS*SEQ+SEQ-ROWS+(m)%ROWS)"


def input_rows(case: Case) -> Array:
    """The input row of every output row: all, or the last `rows_n` of each `seq`."""
    if case.get("rows") != "last":
        return np.arange(case["M"])
    seq, rows = case["seq"], case["rows_n"]
    return np.array(
        [b * seq + seq - rows + i for b in range(case.get("B", 1)) for i in range(rows)]
    )


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """y = x / sqrt(mean(x^2) + EPS) * gamma, where x may be the sum of two inputs."""
    x_MD = inputs["x"].astype(np.float64)[input_rows(case)]
    if "r" in inputs:
        x_MD = x_MD + inputs["r"].astype(np.float64)[input_rows(case)]
    mean_M1 = np.mean(x_MD * x_MD, axis=-1, keepdims=True)
    y_MD = x_MD / np.sqrt(mean_M1 + case["EPS"]) * inputs["gamma"]
    return {"sum": x_MD, "y": y_MD} if "r" in inputs else {"y": y_MD}


def _input_shape(case: Case) -> tuple[int, int]:
    if case.get("rows") == "last":
        return case.get("B", 1) * case["seq"], case["D"]
    return case["M"], case["D"]


def _arguments(case: Case, add: bool) -> tuple[Argument, ...]:
    x = Argument("x", "x", _input_shape, "in")
    r = Argument("r", "x", _input_shape, "in")
    gamma = Argument("gamma", "f32", lambda c: (c["D"],), "weight")
    total = Argument("sum", "x", lambda c: (c["M"], c["D"]), "out")
    y = Argument("y", "y", lambda c: (c["M"], c["D"]), "out")
    return (x, r, gamma, total, y) if add else (x, gamma, y)


def _defines(case: Case, knobs: Knobs, add: bool) -> Defines:
    defines: Defines = {
        **storage_defines(case, "x", "y"),
        "ADD": int(add),
        "D": case["D"],
        "EPS": c_float(case["EPS"]),
        "ROW(m)": LAST_ROWS if case.get("rows") == "last" else "(m)",
    }
    return {**defines, "WG": knobs["WG"]} if "WG" in knobs else defines


def _row_grid(case: Case, knobs: Knobs) -> Grid:
    return (case["M"] * knobs["WG"],), (knobs["WG"],)


def _work(case: Case, add: bool) -> tuple[int, int]:
    return nbytes(_arguments(case, add), case), (5 if add else 4) * case["M"] * case["D"]


CASES: tuple[Case, ...] = (
    {"M": 1, "D": 5, "EPS": 1e-5},
    {"M": 7, "D": 63, "EPS": 1e-6},
    {"M": 2, "D": 768, "EPS": 1e-6, "seq": 2},
    {"M": 3, "D": 65, "EPS": 1e-5, "x": "f16", "y": "f16"},
    {"M": 1, "D": 64, "EPS": 1e-5, "rows": "last", "seq": 5, "rows_n": 1},
    {"M": 6, "D": 30, "EPS": 1e-5, "rows": "last", "seq": 7, "rows_n": 3, "B": 2},
)


def _kernel(name: str, cpu: bool) -> Kernel:
    add = name.startswith("add")
    return Kernel(
        name=name,
        source="rmsnorm_cpu.cl" if cpu else "rmsnorm.cl",
        classes=("cpu",) if cpu else ("generic",),
        arguments=partial(_arguments, add=add),
        reference=reference,
        defines=partial(_defines, add=add),
        grid=cpu_grid if cpu else _row_grid,
        work=partial(_work, add=add),
        knobs={"WORKERS": (8, 3)} if cpu else {"WG": (64, 16)},
        cases=CASES,
        local_bytes=lambda _, knobs: 4 * knobs.get("WG", 0),  # a sum of squares each
    )


RMSNORM = _kernel("rmsnorm", cpu=False)
RMSNORM_CPU = _kernel("rmsnorm_cpu", cpu=True)
ADD_RMSNORM = _kernel("add_rmsnorm", cpu=False)
ADD_RMSNORM_CPU = _kernel("add_rmsnorm_cpu", cpu=True)
