"""Matrix product for many rows, weights in the layout n16 or in codes (few rows: gemv.py)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opencl_kernels.case import At, Defines, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.kernel import Grid, Kernel, Knobs, Requires, worker_grid
from opencl_kernels.layouts import F16, F32, quantized
from opencl_kernels.map.indexed import Operand, floats
from opencl_kernels.matmul import epilogue, gemv, matmul, strips
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Product


def _supports(case: Product) -> str | None:
    return "it has no norm before the product" if case.normed else None


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


def _supports_halves(case: Product) -> str | None:
    return _supports(case) or gemv.supports_halves(case)


def _half_defines(case: Product, knobs: Knobs) -> Defines:
    """Halves hold no more than a group, and of codes of 8 bits, which fill them sooner, 16."""
    held = min(knobs["HELD"], case.w.group, 128 // case.w.bits)
    own: Defines = {"WG": knobs["WG"], "HELD": held, "MB": strips.rows(case, knobs)}
    return {**matmul.defines(case), **own}


def _half_grid(case: Any, knobs: Knobs) -> Grid:
    rows = knobs["WG"] // 8 * strips.rows(case, knobs)
    return (strips.count(case.N) * knobs["WG"], ceil_div(case.M, rows)), (knobs["WG"], 1)


def _half_requires(case: Product, knobs: Knobs) -> Requires:
    """One row's ups, where there are gates."""
    return Requires(features=("fp16",), local_bytes=8 * knobs["WG"] if case.glu else 0)


def _rows(seq: int, batch: int = 1) -> dict[str, Any]:
    return {"at": At(seq=seq), "B": batch}


QUANTIZED_CASES = (
    Product(M=5, N=7, K=3, w=quantized("e0m4", 16, "f32")),
    Product(M=19, N=33, K=40, w=quantized("e0m4", 32, "f16", "u8"), **_rows(19)),
    Product(M=17, N=64, K=65, w=quantized("e0m4", 64, "f16", "f16"), glu=Glu(25), bias=True),
    Product(
        M=63, N=49, K=300, w=quantized("q8", 128, "f32", "u8"), residual=True, x="f16", y="f16"
    ),
    Product(M=2, N=20, K=257, w=quantized("q8", 16, "f16"), Y0=5, LDY=31),
    Product(
        M=21, N=35, K=600, w=quantized("e0m4", 256, "f32", "f32"), residual=True, **_rows(7, 3)
    ),
    Product(M=65, N=97, K=520, w=quantized("e0m4", 32, "f16", "u8"), residual=True),
    Product(
        M=9, N=97, K=65, w=quantized("e0m4", 16, "f32"), bias=True, epilogue="Relu(v) * Relu(v)"
    ),
    Product(
        M=21,
        N=96,
        K=300,
        w=quantized("q8", 32, "f16", "u8"),
        glu=Glu(47),
        epilogue="0.5 * v * (1.0 + Erf(v * 0.7071)) * (u + a0[i1])",
        inputs=floats(47),
        **_rows(7, 3),
    ),
    Product(M=18, N=65, K=530, w=quantized("q8", 32, "f16"), **_rows(18)),
    *(Product(M=m, N=35, K=37, w=quantized("e0m4", 16, "f16"), X0=5, LDX=51) for m in (3, 19)),
)
HALF_CASES = (
    Product(M=5, N=7, K=3, x="f16", y="f16", w=quantized("e0m4", 16, "f16")),
    Product(
        M=67, N=65, K=63, x="f16", w=quantized("e0m4", 32, "f32", "u8"), bias=True, **_rows(67)
    ),
    Product(M=19, N=64, K=40, x="f16", w=quantized("q8", 16, "f16"), glu=Glu(23), bias=True),
    Product(
        M=21,
        N=96,
        K=300,
        x="f16",
        w=quantized("q8", 32, "f16", "u8"),
        glu=Glu(47),
        epilogue="v * Sigmoid(v) * (u + a0[i1])",
        inputs=floats(47),
        **_rows(7, 3),
    ),
    Product(
        M=35,
        N=35,
        K=129,
        x="f16",
        y="f16",
        w=quantized("e0m4", 256, "f16", "u8"),
        residual=True,
        X0=5,
        LDX=140,
        Y0=3,
        LDY=50,
    ),
    Product(M=70, N=97, K=520, x="f16", y="f16", w=quantized("e0m4", 32, "f16", "u8"), **_rows(70)),
)
FLOAT_CASES = (
    Product(M=5, N=7, K=3),
    Product(M=1, N=16, K=1),
    Product(M=17, N=48, K=30, w=F16, bias=True),
    Product(M=7, N=35, K=65, x="f16", y="f16", w=F16, residual=True),
    Product(M=3, N=20, K=9, Y0=5, LDY=31, LDX=12),
    Product(M=15, N=35, K=33, x="f16", X0=17, LDX=53),
    Product(M=6, N=33, K=300, y="f16", **_rows(3, 2)),
    Product(M=7, N=160, K=33, glu=Glu(65, "relu"), **_rows(7)),
    Product(M=4, N=128, K=65, glu=Glu(64), w=F16, y="f16", bias=True),
    Product(M=63, N=65, K=515, bias=True, residual=True, **_rows(63)),
    Product(M=26, N=97, K=600, w=F16, **_rows(13, 2)),
    Product(
        M=5,
        N=20,
        K=33,
        Y0=5,
        LDY=31,
        epilogue="Where(i1 < 9, v, Neg(v)) * 0.25 + a0[31*i0 + i1] * a1[i0]",
        inputs=(Operand("f16", 155), Operand("f32", 5)),
        **_rows(5),
    ),
    Product(
        M=7,
        N=64,
        K=17,
        x="f16",
        y="f16",
        glu=Glu(23),
        bias=True,
        epilogue="Tanh(v) * Max(u, Float(past + i0 - start[0]))",
        **_rows(7),
    ),
    Product(
        M=17,
        N=65,
        K=515,
        epilogue="30.0 * Tanh(v * 0.1) + a0[65*i0 + i1]",
        inputs=floats(1105),
        **_rows(17),
    ),
)
FLOAT_BENCH = tuple(
    Product(M=512, N=n, K=k, w=w, **_rows(512))
    for w in (F32, F16)
    for n, k in ((2048, 2048), (768, 768), (4096, 768), (2048, 5632))
)
QUANTIZED_BENCH = tuple(
    replace(case, w=quantized("e0m4", 32, "f16", "u8")) for case in FLOAT_BENCH[:4]
)
FEW_BENCH = tuple(replace(QUANTIZED_BENCH[0], M=m, **_rows(m)) for m in (2, 4, 8, 16))
HALF_BENCH = (replace(QUANTIZED_BENCH[0], M=256, x="f16", y="f16", **_rows(256)),)

GEMM_CPU = Kernel(
    name="gemm_cpu",
    source="gemm_cpu.cl",
    classes=("cpu",),
    defines=_cpu_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 3, 4, 16), "MR": (12, 6), "KC": (2048, 256), "FEW": (16, 0)},
    supports=_supports,
)
GEMM_HALF = Kernel(
    name="gemm_half",
    source="gemm_half.cl",
    classes=("adreno", "mali", "generic"),
    defines=_half_defines,
    grid=_half_grid,
    cuts=0,
    knobs={"WG": (64, 128, 32), "MB": (8, 4, 16), "HELD": (32, 16, 8)},
    supports=_supports_halves,
    requires=_half_requires,
)
GEMM = Kernel(
    name="gemm",
    source="gemm.cl",
    classes=("generic",),
    defines=_portable_defines,
    grid=_portable_grid,
    cuts=0,
    knobs={"MR": (4, 8)},
    supports=_supports,
    requires=_portable_requires,
)
FAMILY = Family(
    name="gemm",
    case=Product,
    arguments=matmul.arguments,
    reference=matmul.reference,
    work=matmul.work,
    cases=QUANTIZED_CASES + HALF_CASES + FLOAT_CASES,
    bench_cases=FLOAT_BENCH + QUANTIZED_BENCH + FEW_BENCH + HALF_BENCH,
    kernels=(GEMM_CPU, GEMM_HALF, GEMM),
)
