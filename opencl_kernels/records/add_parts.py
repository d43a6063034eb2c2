"""Partial sums added up, a residual and a bias with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from opencl_kernels.case import At, Case, Defines, Size, ceil_div
from opencl_kernels.family import Family
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


@dataclass(frozen=True, kw_only=True)
class Parts(Case):
    """y[m, d] = sum over g of part[g, m, d] + r[m, d] + bias[d]."""

    M: Size
    D: int
    G: int
    x: str = "f32"  # of r
    y: str = "f32"
    residual: bool = False
    bias: bool = False


def reference(inputs: Mapping[str, Array], case: Parts) -> dict[str, Array]:
    """The sums."""
    y_MD = inputs["part"].astype(np.float64).sum(axis=0)
    return {"y": y_MD + sum(inputs[name] for name in ("r", "bias") if name in inputs)}


def _arguments(case: Parts) -> tuple[Argument, ...]:
    return (
        Argument("part", "f32", (case.G, case.M, case.D), "in"),
        *([Argument("r", case.x, (case.M, case.D), "in")] if case.residual else []),
        *([Argument("bias", "f32", (case.D,), "weight")] if case.bias else []),
        Argument("y", case.y, (case.M, case.D), "out"),
    )


def _defines(case: Parts, knobs: Knobs) -> Defines:
    return {
        **storage_defines(case, "x", "y"),
        "D": case.D,
        "G": case.G,
        "RESIDUAL": int(case.residual),
        "BIAS": int(case.bias),
        "LOCAL": local_size(knobs),
    }


def _grid(case: Parts, knobs: Knobs) -> Grid:
    return item_grid(case.M * ceil_div(case.D, 16), knobs)


def _work(case: Parts) -> tuple[int, int]:
    return nbytes(_arguments(case)), case.M * case.D * (case.G + case.residual + case.bias)


ADD_PARTS = Kernel(
    name="add_parts",
    source="add_parts.cl",
    classes=("cpu", "generic"),
    defines=_defines,
    grid=_grid,
    knobs={"WORKERS": (0,)},
)
FAMILY = Family(
    name="add_parts",
    case=Parts,
    arguments=_arguments,
    reference=reference,
    work=_work,
    cases=(
        Parts(M=1, D=65, G=2, residual=True),
        Parts(M=3, D=63, G=5, residual=True, bias=True, x="f16", y="f16", at=At(seq=3)),
        Parts(M=2, D=7, G=1, B=2, at=At(seq=1)),
        Parts(M=4, D=130, G=3, bias=True, y="f16", at=At(seq=4)),
    ),
    bench_cases=(Parts(M=1, D=2048, G=8, residual=True),),
    kernels=(ADD_PARTS,),
)
