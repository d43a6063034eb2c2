"""Matrix product with a weight in the layout n16: for many rows (gemm; few rows: gemv.py)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from opencl_kernels.formats import Array, unpack_n16
from opencl_kernels.glu import gated
from opencl_kernels.kernel import (
    Argument,
    Case,
    Defines,
    Grid,
    Kernel,
    Knobs,
    ceil_div,
    cpu_grid,
    nbytes,
    storage_defines,
)


def reference(inputs: Mapping[str, Array], case: Case) -> dict[str, Array]:
    """y = x W^T + bias (GLU: act(gate) * up of it) at columns Y0 on; the rest of y stays."""
    w_NK = unpack_n16(inputs["w"], case["N"], case["K"]).astype(np.float64)
    x_MK = inputs["x"][:, : case["K"]].astype(np.float64)
    y_MN = x_MK @ w_NK.T + inputs.get("bias", np.zeros(1))
    if case.get("GLU"):
        pairs = y_MN.reshape(case["M"], -1, 2, 16)
        y_MN = (gated(pairs, case)).reshape(case["M"], -1)
    wide = inputs.get("y", np.zeros((case["M"], row_width(case)))).astype(np.float64)
    first, columns = case.get("Y0", 0), output_columns(case)
    wide[:, first : first + columns] = y_MN[:, :columns]
    return {"y": wide}


def output_columns(case: Case) -> int:
    """Columns that one launch writes: N, or F where GLU folds gate and up."""
    return int(case["F"] if case.get("GLU") else case["N"])


def row_width(case: Case) -> int:
    """LDY: elements from one row of y to the next."""
    return int(case.get("LDY", output_columns(case)))


def arguments(case: Case) -> tuple[Argument, ...]:
    """x, w, the bias if there is one, y (which keeps its other columns where it is wider)."""
    part = row_width(case) != output_columns(case)
    x = Argument("x", "x", lambda c: (c["M"], c.get("LDX", c["K"])), "in")
    w = Argument("w", "w", lambda c: (ceil_div(c["N"], 16), c["K"], 16), "weight")
    bias = Argument("bias", "f32", lambda c: (c["N"],), "weight")
    y = Argument("y", "y", lambda c: (c["M"], row_width(c)), "inout" if part else "out")
    return (x, w, bias, y) if case.get("bias") else (x, w, y)


def defines(case: Case, knobs: Knobs) -> Defines:
    """Sizes, strides and options of one product."""
    return {
        **storage_defines(case, "x", "w", "y"),
        "N": case["N"],
        "K": case["K"],
        "LDX": case.get("LDX", case["K"]),
        "LDY": row_width(case),
        "Y0": case.get("Y0", 0),
        "BIAS": int(bool(case.get("bias"))),
    }


def work(case: Case) -> tuple[int, int]:
    """Every buffer once; a multiplication and an addition per weight and row."""
    return nbytes(arguments(case), case), 2 * case["M"] * case["N"] * case["K"]


def _cpu_defines(case: Case, knobs: Knobs) -> Defines:
    sliced = case.get("y", "f32") == "f32"  # a half y cannot hold sums between slices
    depth = min(knobs["KC"], case["K"]) if sliced else case["K"]
    return {**defines(case, knobs), "MR": knobs["MR"], "KC": depth}


def _generic_defines(case: Case, knobs: Knobs) -> Defines:
    return {**defines(case, knobs), "MR": knobs["MR"]}


def _generic_grid(case: Case, knobs: Knobs) -> Grid:
    return (8 * ceil_div(case["N"], 32), 8 * ceil_div(case["M"], 8 * knobs["MR"])), (8, 8)


CASES: tuple[Case, ...] = (
    {"M": 5, "N": 7, "K": 3},
    {"M": 1, "N": 16, "K": 1},
    {"M": 17, "N": 48, "K": 30, "w": "f16", "bias": True},
    {"M": 7, "N": 35, "K": 65, "x": "f16", "y": "f16", "w": "f16"},
    {"M": 3, "N": 20, "K": 9, "Y0": 5, "LDY": 31, "LDX": 12},
    {"M": 6, "N": 33, "K": 300, "y": "f16", "B": 2, "seq": 3},
    {"M": 63, "N": 65, "K": 515, "bias": True, "seq": 63},
    {"M": 26, "N": 97, "K": 600, "w": "f16", "seq": 13, "B": 2},
)

GEMM = Kernel(
    name="gemm",
    source="gemm.cl",
    classes=("generic",),
    arguments=arguments,
    reference=reference,
    defines=_generic_defines,
    grid=_generic_grid,
    work=work,
    knobs={"MR": (4, 8)},
    cases=CASES,
)
GEMM_CPU = Kernel(
    name="gemm_cpu",
    source="gemm_cpu.cl",
    classes=("cpu",),
    arguments=arguments,
    reference=reference,
    defines=_cpu_defines,
    grid=cpu_grid,
    work=work,
    knobs={"GROUPS": (8, 3), "MR": (12, 6), "KC": (2048, 128)},
    cases=CASES,
)
