"""Matrix product for few rows, with the norm before it and a gated unit after it folded in."""

from __future__ import annotations

from opencl_kernels.kernel import Case, Defines, Grid, Kernel, Knobs, ceil_div, cpu_grid
from opencl_kernels.matmul import matmul


def _defines(case: Case, knobs: Knobs) -> Defines:
    own: Defines = {name: value for name, value in knobs.items() if name != "WORKERS"}
    return {**matmul.defines(case), **own}


def _generic_grid(case: Case, knobs: Knobs) -> Grid:
    blocks = ceil_div(case["N"], 32 if case.get("GLU") else 16)
    return (blocks * knobs["WG"], case["M"]), (knobs["WG"], 1)


def _generic_local_bytes(case: Case, knobs: Knobs) -> int:
    """16 partial sums of each slice of K, of gates and ups; the norm's sum of squares."""
    sums = 16 * (knobs["WG"] // 4) * (2 if case.get("GLU") else 1)
    return 4 * (sums + (knobs["WG"] if "EPS" in case else 0))


CODES: tuple[Case, ...] = (
    {"M": 1, "N": 7, "K": 3, "w": "e0m4", "GROUP": 16, "scale": "f16"},
    {"M": 1, "N": 65, "K": 63, "w": "e0m4", "GROUP": 32, "scale": "f32", "zero": "u8", "bias": True,
     "seq": 1},
    {"M": 1, "N": 64, "F": 23, "K": 40, "w": "q8", "GROUP": 16, "scale": "f16", "GLU": 1,
     "EPS": 1e-5},
    {"M": 3, "N": 48, "K": 129, "w": "e0m4", "GROUP": 128, "scale": "f16", "zero": "f32",
     "residual": True, "x": "f16", "y": "f16"},
    {"M": 1, "N": 33, "K": 300, "w": "q8", "GROUP": 256, "scale": "f32", "zero": "u8", "Y0": 3,
     "LDY": 50, "residual": True},
    {"M": 1, "N": 530, "K": 257, "w": "q8", "GROUP": 64, "scale": "f16", "zero": "f16"},
    {"M": 2, "N": 96, "F": 47, "K": 512, "w": "e0m4", "GROUP": 64, "scale": "f16", "zero": "u8",
     "GLU": 1, "act": "relu", "EPS": 1e-6, "bias": True, "B": 2, "seq": 1},
    {"M": 1, "N": 1030, "K": 515, "w": "e0m4", "GROUP": 32, "scale": "f16", "zero": "u8"},
)  # fmt: skip
CASES: tuple[Case, ...] = (
    {"M": 1, "N": 7, "K": 3},
    {"M": 1, "N": 65, "K": 63, "bias": True, "residual": True, "seq": 1},
    {"M": 1, "N": 64, "F": 23, "K": 17, "GLU": 1, "act": "relu", "bias": True, "EPS": 1e-5},
    {"M": 3, "N": 48, "K": 65, "w": "f16", "x": "f16", "y": "f16", "residual": True, "EPS": 1e-5},
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
    arguments=matmul.arguments,
    reference=matmul.reference,
    defines=_defines,
    grid=_generic_grid,
    work=matmul.work,
    knobs={"WG": (64, 16, 128)},
    cases=CODES + CASES,
    local_bytes=_generic_local_bytes,
)
GEMV_CPU = Kernel(
    name="gemv_cpu",
    source="gemv_cpu.cl",
    classes=("cpu",),
    arguments=matmul.arguments,
    reference=matmul.reference,
    defines=_defines,
    grid=cpu_grid,
    work=matmul.work,
    knobs={"WORKERS": (8, 2, 3, 4, 16), "PREFETCH": (32, 0, 16, 64)},
    cases=CASES,
)
GEMV_QUANTIZED_CPU = Kernel(
    name="gemv_quantized_cpu",
    source="gemv_quantized_cpu.cl",
    classes=("cpu",),
    arguments=matmul.arguments,
    reference=matmul.reference,
    defines=_defines,
    grid=cpu_grid,
    work=matmul.work,
    knobs={"WORKERS": (8, 2, 3, 4, 16), "PREFETCH": (64, 0, 32, 128), "HINT": (3, 2)},
    cases=CODES,
)
