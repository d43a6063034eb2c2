"""Cases of the matrix product for many rows: what tests run, and what is timed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opencl_kernels.case import At
from opencl_kernels.layouts import F16, F32, quantized
from opencl_kernels.map.indexed import Operand, floats
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Product


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
    Product(M=37, N=65, K=72, w=F16, x="f16", y="f16", X0=8, LDX=88, **_rows(37)),
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
HALF_BENCH = tuple(
    replace(QUANTIZED_BENCH[0], M=256, x="f16", y="f16", w=w, **_rows(256))
    for w in (QUANTIZED_BENCH[0].w, quantized("q8", 32, "f16", "u8"), F16)
)
CASES = QUANTIZED_CASES + HALF_CASES + FLOAT_CASES
BENCH_CASES = FLOAT_BENCH + QUANTIZED_BENCH + FEW_BENCH + HALF_BENCH
