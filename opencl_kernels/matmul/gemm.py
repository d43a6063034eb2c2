"""Matrix product for many rows, weights in the layout n16 or in codes (few rows: gemv.py)."""

from __future__ import annotations

from typing import Any

from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.kernel import Grid, Kernel, Knobs, Requires, worker_grid
from opencl_kernels.matmul import epilogue, gemm_cases, gemm_half, matmul, strips
from opencl_kernels.matmul.matmul import Product


def _cpu_defines(case: Product, knobs: Knobs) -> Defines:
    depth = min(knobs["KC"], case.K) if _sliced(case) else case.K
    group = case.w.group or 1
    sizes: Defines = {"MR": knobs["MR"], "KC": depth, "FEW": knobs["FEW"]}
    wide = epilogue.cpu_defines(case)
    panel = {"PANEL_ROWS": ceil_div(depth, group) * group}
    return {**matmul.defines(case), **sizes, **panel, **wide}


def _sliced(case: Product) -> bool:
    """Whether sums may wait in y: not as halves, nor where y is narrower than the product.

    And a slice of codes is whole groups.
    """
    return case.y == "f32" and case.glu is None


def _portable_defines(case: Product, knobs: Knobs) -> Defines:
    return {**matmul.defines(case), "MR": knobs["MR"]}


def _portable_grid(case: Any, knobs: Knobs) -> Grid:
    return (8 * ceil_div(case.N, 32), 8 * ceil_div(case.M, 8 * knobs["MR"])), (8, 8)


def _portable_requires(_: Product, knobs: Knobs) -> Requires:
    """A slice of 16 k of 8 * MR rows of x and of 32 columns of W."""
    return Requires(local_bytes=4 * 16 * (8 * knobs["MR"] + 32))


def _tiled_defines(case: Product, knobs: Knobs) -> Defines:
    return {**matmul.defines(case), **knobs}


def _tiled_grid(case: Any, knobs: Knobs) -> Grid:
    pairs = ceil_div(strips.count(case.N), 2)
    return (8 * pairs, 8 * ceil_div(case.M, 8 * knobs["MR"])), (8, 8)


def _tiled_requires(_: Product, knobs: Knobs) -> Requires:
    """A slice of KT of 8 * MR rows of x and of 64 columns of W."""
    return Requires(local_bytes=4 * knobs["KT"] * (8 * knobs["MR"] + 64))


GEMM_CPU = Kernel(
    name="gemm_cpu",
    source="gemm_cpu.cl",
    classes=("cpu",),
    defines=_cpu_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 3, 4, 16), "MR": (12, 6), "KC": (2048, 256), "FEW": (16, 0)},
    supports=matmul.without_norm,
)
GEMM_TILED = Kernel(
    name="gemm_tiled",
    source="gemm_tiled.cl",
    classes=("generic",),
    on_processors=False,
    defines=_tiled_defines,
    grid=_tiled_grid,
    cuts=0,
    knobs={"MR": (8, 4), "KT": (32, 16)},
    supports=matmul.without_norm,
    requires=_tiled_requires,
)
GEMM = Kernel(
    name="gemm",
    source="gemm.cl",
    classes=("generic",),
    defines=_portable_defines,
    grid=_portable_grid,
    cuts=0,
    knobs={"MR": (4, 8)},
    supports=matmul.without_norm,
    requires=_portable_requires,
)
FAMILY = Family(
    name="gemm",
    case=Product,
    arguments=matmul.arguments,
    reference=matmul.reference,
    work=matmul.work,
    cases=gemm_cases.CASES,
    bench_cases=gemm_cases.BENCH_CASES,
    kernels=(GEMM_CPU, *gemm_half.KERNELS, GEMM_TILED, GEMM),
)
