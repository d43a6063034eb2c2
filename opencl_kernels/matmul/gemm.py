"""Matrix product for many rows, weights in the layout n16 or in codes (few rows: gemv.py)."""

from __future__ import annotations

from opencl_kernels.kernel import Case, Defines, Grid, Kernel, Knobs, ceil_div, cpu_grid
from opencl_kernels.matmul import matmul


def _cpu_defines(case: Case, knobs: Knobs) -> Defines:
    depth = min(knobs["KC"], case["K"]) if _sliced(case) else case["K"]
    group = case.get("GROUP", 1)
    sizes: Defines = {"MR": knobs["MR"], "KC": depth, "FEW": knobs["FEW"]}
    return {**matmul.defines(case), **sizes, "PANEL_ROWS": ceil_div(depth, group) * group}


def _sliced(case: Case) -> bool:
    """Whether sums may wait in y: not as halves, nor where y is narrower than the product.

    And a slice of codes is whole groups.
    """
    return case.get("y", "f32") == "f32" and not case.get("GLU")


def _generic_defines(case: Case, knobs: Knobs) -> Defines:
    return {**matmul.defines(case), "MR": knobs["MR"]}


def _generic_grid(case: Case, knobs: Knobs) -> Grid:
    return (8 * ceil_div(case["N"], 32), 8 * ceil_div(case["M"], 8 * knobs["MR"])), (8, 8)


def _generic_local_bytes(case: Case, knobs: Knobs) -> int:
    """A slice of 16 k of 8 * MR rows of x and of 32 columns of W."""
    return 4 * 16 * (8 * knobs["MR"] + 32)


CODES: tuple[Case, ...] = (
    {"M": 5, "N": 7, "K": 3, "w": "e0m4", "GROUP": 16, "scale": "f32"},
    {"M": 19, "N": 33, "K": 40, "w": "e0m4", "GROUP": 32, "scale": "f16", "zero": "u8", "seq": 19},
    {"M": 17, "N": 64, "F": 25, "K": 65, "w": "e0m4", "GROUP": 64, "scale": "f16", "zero": "f16",
     "GLU": 1, "bias": True},
    {"M": 63, "N": 49, "K": 300, "w": "q8", "GROUP": 128, "scale": "f32", "zero": "u8",
     "residual": True, "x": "f16", "y": "f16"},
    {"M": 2, "N": 20, "K": 257, "w": "q8", "GROUP": 16, "scale": "f16", "Y0": 5, "LDY": 31},
    {"M": 21, "N": 35, "K": 600, "w": "e0m4", "GROUP": 256, "scale": "f32", "zero": "f32",
     "residual": True, "seq": 7, "B": 3},
    {"M": 65, "N": 97, "K": 520, "w": "e0m4", "GROUP": 32, "scale": "f16", "zero": "u8",
     "residual": True},
    {"M": 18, "N": 65, "K": 530, "w": "q8", "GROUP": 32, "scale": "f16", "seq": 18},
)  # fmt: skip
CASES: tuple[Case, ...] = (
    {"M": 5, "N": 7, "K": 3},
    {"M": 1, "N": 16, "K": 1},
    {"M": 17, "N": 48, "K": 30, "w": "f16", "bias": True},
    {"M": 7, "N": 35, "K": 65, "x": "f16", "y": "f16", "w": "f16", "residual": True},
    {"M": 3, "N": 20, "K": 9, "Y0": 5, "LDY": 31, "LDX": 12},
    {"M": 6, "N": 33, "K": 300, "y": "f16", "B": 2, "seq": 3},
    {"M": 7, "N": 160, "F": 65, "K": 33, "GLU": 1, "act": "relu", "seq": 7},
    {"M": 4, "N": 128, "F": 64, "K": 65, "GLU": 1, "w": "f16", "y": "f16", "bias": True},
    {"M": 63, "N": 65, "K": 515, "bias": True, "residual": True, "seq": 63},
    {"M": 26, "N": 97, "K": 600, "w": "f16", "seq": 13, "B": 2},
)

GEMM = Kernel(
    name="gemm",
    source="gemm.cl",
    classes=("generic",),
    arguments=matmul.arguments,
    reference=matmul.reference,
    defines=_generic_defines,
    grid=_generic_grid,
    work=matmul.work,
    knobs={"MR": (4, 8)},
    cases=CODES + CASES,
    local_bytes=_generic_local_bytes,
)
GEMM_CPU = Kernel(
    name="gemm_cpu",
    source="gemm_cpu.cl",
    classes=("cpu",),
    arguments=matmul.arguments,
    reference=matmul.reference,
    defines=_cpu_defines,
    grid=cpu_grid,
    work=matmul.work,
    knobs={"WORKERS": (8, 3, 4, 16), "MR": (12, 6), "KC": (2048, 256), "FEW": (16, 0)},
    cases=CODES + CASES,
)
