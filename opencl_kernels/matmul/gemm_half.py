"""Kernels of the matrix product for many rows in half arithmetic: one for each type of weight."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from opencl_kernels.case import Defines, ceil_div
from opencl_kernels.kernel import Grid, Kernel, Knobs, Requires
from opencl_kernels.matmul import gemv, matmul, strips, x_image
from opencl_kernels.matmul.matmul import Product

CLASSES = ("adreno", "mali", "generic")
OF_CODES, OF_FLOATS = 8, 4  # work-items that hold a strip: 4 or 8 columns each


def _supports_codes(bits: int, case: Product) -> str | None:
    if case.w.bits != bits:
        return f"it reads codes of {bits} bits"
    return matmul.without_norm(case) or gemv.supports_halves(case)


def _supports_floats(case: Product) -> str | None:
    """Weights in float keep their digits: what is computed of them is float."""
    if case.w.dtype != "f16" or case.x != "f16":
        return "it reads halves"
    return matmul.without_norm(case)


def _defines(case: Product, knobs: Knobs) -> Defines:
    """Halves hold no more than a group."""
    held = min(knobs["HELD"], case.w.group or knobs["HELD"])
    own: Defines = {"WG": knobs["WG"], "HELD": held, "MB": strips.rows(case, knobs)}
    own |= {"X_IMAGE": 1} if x_image.images(case, knobs) else {}
    return {**matmul.defines(case), **own}


def _grid(side: int, case: Any, knobs: Knobs) -> Grid:
    rows = knobs["WG"] // side * strips.rows(case, knobs)
    return (strips.count(case.N) * knobs["WG"], ceil_div(case.M, rows)), (knobs["WG"], 1)


def _requires(side: int, case: Product, knobs: Knobs) -> Requires:
    """One row's ups, where there are gates."""
    ups = 4 * 16 * knobs["WG"] // side if case.glu else 0
    needs = Requires(features=("fp16",), local_bytes=ups)
    return x_image.with_images(needs, x_image.images(case, knobs))


def _kernel(
    name: str, side: int, held: tuple[int, ...], supports: Callable[[Any], str | None]
) -> Kernel:
    return Kernel(
        name=name,
        source=f"{name}.cl",
        classes=CLASSES,
        on_processors=False,
        defines=_defines,
        grid=partial(_grid, side),
        cuts=0,
        knobs={"WG": (64, 128, 32), "MB": (8, 4, 16), "HELD": held, "X_IMAGE": (0, 1)},
        supports=supports,
        requires=partial(_requires, side),
    )


KERNELS = (
    _kernel("gemm_half", OF_CODES, (32, 16, 8), partial(_supports_codes, 4)),
    _kernel("gemm_half_q8", OF_CODES, (16, 8), partial(_supports_codes, 8)),
    _kernel("gemm_half_f16", OF_FLOATS, (16, 32, 8), _supports_floats),
)
