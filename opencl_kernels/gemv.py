"""Matrix product with a weight in the layout n16: for few rows, with a gated unit folded in."""

from __future__ import annotations

from opencl_kernels import gemm
from opencl_kernels.glu import activation_define
from opencl_kernels.kernel import Case, Defines, Grid, Kernel, Knobs, ceil_div, cpu_grid


def _defines(case: Case, knobs: Knobs, knob: str) -> Defines:
    return {
        **gemm.defines(case, knobs),
        "GLU": int(bool(case.get("GLU"))),
        **activation_define(case),
        "F": case.get("F", 0),
        knob: knobs[knob],
    }


def _cpu_defines(case: Case, knobs: Knobs) -> Defines:
    return _defines(case, knobs, "PREFETCH")


def _generic_defines(case: Case, knobs: Knobs) -> Defines:
    return _defines(case, knobs, "WG")


def _generic_grid(case: Case, knobs: Knobs) -> Grid:
    blocks = ceil_div(case["N"], 32 if case.get("GLU") else 16)
    return (blocks * knobs["WG"], case["M"]), (knobs["WG"], 1)


CASES: tuple[Case, ...] = (
    {"M": 1, "N": 7, "K": 3},
    {"M": 1, "N": 65, "K": 63, "bias": True, "seq": 1},
    {"M": 1, "N": 64, "F": 23, "K": 17, "GLU": 1, "act": "relu", "bias": True},
    {"M": 3, "N": 48, "K": 65, "w": "f16", "x": "f16", "y": "f16"},
    {
        "M": 2,
        "N": 33,
        "K": 31,
        "Y0": 3,
        "LDY": 50,
        "LDX": 40,
        "rows": "last",
        "rows_n": 2,
        "seq": 9,
    },
    {"M": 2, "N": 128, "F": 64, "K": 200, "GLU": 1, "w": "f16", "B": 2, "seq": 1},
    {"M": 1, "N": 530, "K": 257, "w": "f16"},
)

GEMV = Kernel(
    name="gemv",
    source="gemv.cl",
    classes=("generic",),
    arguments=gemm.arguments,
    reference=gemm.reference,
    defines=_generic_defines,
    grid=_generic_grid,
    work=gemm.work,
    knobs={"WG": (64, 16, 128)},
    cases=CASES,
)
GEMV_CPU = Kernel(
    name="gemv_cpu",
    source="gemv_cpu.cl",
    classes=("cpu",),
    arguments=gemm.arguments,
    reference=gemm.reference,
    defines=_cpu_defines,
    grid=cpu_grid,
    work=gemm.work,
    knobs={"GROUPS": (8, 3), "PREFETCH": (32, 0)},
    cases=CASES,
)
