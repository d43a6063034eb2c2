"""Matrix product for few rows, with norms before it and a gated unit after it folded in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opencl_kernels.case import At, Defines, ceil_div
from opencl_kernels.family import Family
from opencl_kernels.kernel import Grid, Kernel, Knobs, Requires, worker_grid
from opencl_kernels.layouts import F16, F32, quantized
from opencl_kernels.map.indexed import Operand, floats
from opencl_kernels.matmul import epilogue, matmul, strips, x_image
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product


def supports_floats(case: Any) -> str | None:
    """Weights of floats."""
    return "it reads floats" if case.w.bits else None


def supports_codes(case: Any) -> str | None:
    """Weights of codes."""
    return None if case.w.bits else "it reads codes"


def _defines(case: Product, knobs: Knobs) -> Defines:
    own: Defines = {name: value for name, value in knobs.items() if name != "WORKERS"}
    return {**matmul.defines(case), **own}


def _cpu_defines(case: Product, knobs: Knobs) -> Defines:
    return {**_defines(case, knobs), **epilogue.cpu_defines(case)}


def _strip_defines(case: Product, knobs: Knobs) -> Defines:
    return {
        **matmul.defines(case),
        **knobs,
        **strips.runs(case, knobs),
        "STRIPS": strips.together(case.N, bool(case.normed), knobs),
        "MB": strips.rows(case, knobs),
    }


def _float_defines(case: Product, knobs: Knobs) -> Defines:
    return {**_strip_defines(case, knobs), **staged_defines(strips.staged(case, knobs))}


def staged_defines(floats: int) -> Defines:
    """Floats of local memory that what a norm makes is kept in."""
    return {"STAGED": floats} if floats else {}


def _half_defines(case: Product, knobs: Knobs) -> Defines:
    """A run may be shorter than what halves could hold."""
    most = strips.run(case, knobs) * 32 // case.w.bits
    own: Defines = {"HELD": min(knobs["HELD"], most)}
    own |= {"X_IMAGE": 1} if _images(case, knobs) else {}
    return {**_strip_defines(case, {k: v for k, v in knobs.items() if k != "X_IMAGE"}), **own}


def _images(case: Product, knobs: Knobs) -> tuple[str, ...]:
    """Where a word of codes takes as many elements of x as a texel has."""
    return x_image.images(case, knobs) if case.w.bits == 4 else ()


def strip_grid(case: Any, knobs: Knobs) -> Grid:
    """Work-groups of strips and of rows."""
    each = strips.together(case.N, bool(case.normed), knobs)
    groups = ceil_div(strips.count(case.N), each)
    return (groups * knobs["WG"], ceil_div(case.M, strips.rows(case, knobs))), (knobs["WG"], 1)


def strip_requires(case: Product, knobs: Knobs) -> Requires:
    """The slices' sums, and those of a norm."""
    return Requires(local_bytes=strips.local_bytes(case, knobs))


def float_requires(case: Product, knobs: Knobs) -> Requires:
    """And what the norm makes of x, where there is room."""
    local_bytes = strip_requires(case, knobs).local_bytes + 4 * strips.staged(case, knobs)
    return Requires(local_bytes=local_bytes)


def half_requires(case: Product, knobs: Knobs) -> Requires:
    """And what the norm makes of x."""
    normed = 2 * strips.rows(case, knobs) * strips.depth(case, knobs) if case.normed else 0
    float_bytes = strip_requires(case, knobs).local_bytes
    return Requires(features=("fp16",), local_bytes=float_bytes + normed)


def _half_image_requires(case: Product, knobs: Knobs) -> Requires:
    return x_image.with_images(half_requires(case, knobs), _images(case, knobs))


def supports_halves(case: Any) -> str | None:
    """Codes, whose zero points are integers: half arithmetic gains nothing on floats."""
    if not case.w.bits:
        return "it reads codes"
    if ((case.norm and case.normed_as) or case.x) != "f16":
        return "what it multiplies is halves: others may be too large"
    return None if case.w.zero in ("", "u8") else "its zero points are integers"


ONE = At(seq=1)
QUANTIZED_CASES = (
    Product(M=1, N=7, K=3, w=quantized("e0m4", 16, "f16")),
    Product(M=1, N=65, K=63, w=quantized("e0m4", 32, "f32", "u8"), bias=True, at=ONE),
    Product(M=1, N=64, K=40, w=quantized("q8", 16, "f16"), glu=Glu(23), norm=Norm(1e-5)),
    Product(
        M=3, N=48, K=129, w=quantized("e0m4", 128, "f16", "f32"), residual=True, x="f16", y="f16"
    ),
    Product(M=1, N=33, K=300, w=quantized("q8", 256, "f32", "u8"), Y0=3, LDY=50, residual=True),
    Product(M=1, N=530, K=257, w=quantized("q8", 64, "f16", "f16")),
    Product(M=2, N=96, K=512, w=quantized("e0m4", 64, "f16", "u8"), glu=Glu(47, "relu"),
            norm=Norm(1e-6), bias=True, B=2, at=ONE),
    Product(M=1, N=97, K=65, w=quantized("e0m4", 16, "f32"), epilogue="Relu(v) * Relu(v)"),
    Product(M=2, N=33, K=83, w=quantized("q8", 32, "f16"), norm=Norm(1e-5, True, True), bias=True,
            B=2, at=ONE),
    Product(M=2, N=96, K=300, w=quantized("q8", 32, "f16", "u8"), glu=Glu(47), B=2, at=ONE,
            epilogue="0.5 * v * (1.0 + Erf(v * 0.7071)) * (u + a0[i1])", inputs=floats(47)),
    Product(M=1, N=37, K=67, w=quantized("e0m4", 32, "f16", "u8"), sum_eps=1e-3, at=ONE),
    Product(M=2, N=96, K=300, w=quantized("q8", 32, "f16"), glu=Glu(47), sum_eps=1e-5,
            norm=Norm(1e-6), B=2, at=ONE),
    Product(M=2, N=35, K=37, w=quantized("e0m4", 16, "f16"), norm=Norm(1e-5), X0=5, LDX=51),
    Product(M=2, N=37, K=83, w=quantized("q8", 32, "f16", "u8"), norm=Norm(1e-5), keeps_norm=True,
            bias=True, B=2, at=ONE),
    Product(M=1, N=1030, K=515, w=quantized("e0m4", 32, "f16", "u8")),
)  # fmt: skip
HALF_CASES = (
    Product(M=1, N=7, K=3, x="f16", y="f16", w=quantized("e0m4", 16, "f16")),
    Product(M=1, N=65, K=63, x="f16", w=quantized("e0m4", 32, "f32", "u8"), bias=True, at=ONE),
    Product(M=1, N=64, K=40, x="f16", w=quantized("q8", 16, "f16"), glu=Glu(23),
            norm=Norm(1e-5)),
    Product(M=5, N=96, K=300, x="f16", w=quantized("q8", 32, "f16", "u8"), glu=Glu(47),
            epilogue="v * Sigmoid(v) * (u + a0[i1])", inputs=floats(47), at=At(seq=5)),
    Product(M=3, N=35, K=129, x="f16", y="f16", w=quantized("e0m4", 256, "f16", "u8"),
            norm=Norm(1e-5, True, True), residual=True, LDX=140, Y0=3, LDY=50, B=3, at=ONE),
    Product(M=2, N=160, K=1032, x="f16", w=quantized("e0m4", 128, "f16"), glu=Glu(70),
            B=2, at=ONE),
    Product(M=2, N=65, K=123, x="f16", y="f16", w=quantized("e0m4", 16, "f16", "u8"), sum_eps=1e-3,
            LDX=130, B=2, at=ONE),
    Product(M=1, N=33, K=320, x="f16", y="f16", w=quantized("e0m4", 64, "f16"), sum_eps=1e-5,
            norm=Norm(1e-6), at=ONE),
    Product(M=3, N=70, K=91, x="f16", w=quantized("e0m4", 16, "f16", "u8"), sum_eps=1e-4,
            norm=Norm(1e-5), keeps_norm=True, B=3, at=ONE),
    Product(M=6, N=97, K=1544, x="f16", y="f16", w=quantized("e0m4", 32, "f16", "u8"),
            norm=Norm(1e-6), at=At(seq=6)),
    Product(M=2, N=65, K=131, w=quantized("e0m4", 32, "f16", "u8"), norm=Norm(1e-5),
            normed_as="f16", residual=True, B=2, at=ONE),
    Product(M=1, N=33, K=77, w=quantized("q8", 16, "f16"), norm=Norm(1e-6, True, True),
            normed_as="f16", sum_eps=1e-5, at=ONE),
    Product(M=1, N=33, K=77, x="f16", w=quantized("e0m4", 16, "f16"), norm=Norm(1e-6),
            normed_as="f32", at=ONE),
)  # fmt: skip
FLOAT_CASES = (
    Product(M=1, N=7, K=3),
    Product(M=1, N=65, K=63, bias=True, residual=True, at=ONE),
    Product(M=1, N=64, K=17, glu=Glu(23, "relu"), bias=True, norm=Norm(1e-5)),
    Product(M=3, N=48, K=65, w=F16, x="f16", y="f16", residual=True, norm=Norm(1e-5)),
    Product(M=2, N=33, K=31, Y0=3, LDY=50, LDX=40, last_rows=True, at=At(seq=9, rows=2)),
    Product(M=2, N=128, K=200, glu=Glu(64), w=F16, B=2, at=ONE),
    Product(M=1, N=20, K=33, Y0=5, LDY=31, inputs=(Operand("f16", 31), Operand("f32", 1)),
            epilogue="Where(i1 < 9, v, Neg(v)) * 0.25 + a0[31*i0 + i1] * a1[i0]", at=ONE),
    Product(M=1, N=64, K=17, x="f16", y="f16", glu=Glu(23), bias=True, at=ONE,
            epilogue="Tanh(v) * Max(u, Float(past + i0 - start[0]))"),
    Product(M=1, N=530, K=257, w=F16, epilogue="30.0 * Tanh(v * 0.1) + a0[530*i0 + i1]",
            inputs=floats(530)),
    Product(M=3, N=35, K=63, norm=Norm(1e-5, centred=True), residual=True, LDX=70),
    Product(M=3, N=35, K=33, norm=Norm(1e-5), X0=17, LDX=53),
    Product(M=1, N=33, K=15, x="f16", norm=Norm(1e-6), X0=48, LDX=63, at=ONE),
    Product(M=1, N=64, K=129, x="f16", w=F16, norm=Norm(1e-5, True, True), glu=Glu(23), at=ONE,
            epilogue="v * Sigmoid(1.702 * v) * (u + 1.0)"),
    Product(M=3, N=35, K=65, x="f16", w=F16, norm=Norm(1e-5, True, True), keeps_norm=True, X0=17,
            LDX=90, B=3, at=ONE, epilogue="Sigmoid(v)"),
    Product(M=1, N=530, K=63, sum_eps=1e-3, norm=Norm(1e-5), keeps_norm=True, at=ONE),
    Product(M=1, N=35, K=63, sum_eps=1e-3, bias=True, residual=True, at=ONE),
    Product(M=3, N=33, K=31, x="f16", y="f16", w=F16, sum_eps=1e-5, norm=Norm(1e-6), LDX=40),
    Product(M=2, N=64, K=129, sum_eps=1e-5, norm=Norm(1e-5, True, True), glu=Glu(23), B=2, at=ONE,
            epilogue="v * Sigmoid(1.702 * v) * (u + 1.0)"),
    Product(M=1, N=530, K=257, w=F16),
)  # fmt: skip
FLOAT_BENCH = tuple(
    Product(M=1, N=n, K=k, w=w, at=ONE)
    for w in (F32, F16)
    for n, k in ((768, 768), (2048, 2048), (2048, 5632), (11264, 2048), (32000, 768))
)
QUANTIZED_BENCH = tuple(
    replace(case, w=quantized("e0m4", 32, "f16", "u8")) for case in FLOAT_BENCH[:5]
)
HALF_BENCH = tuple(
    replace(QUANTIZED_BENCH[1], M=m, x="f16", y="f16", at=At(seq=m)) for m in (1, 4, 16)
)

GEMV_QUANTIZED_CPU = Kernel(
    name="gemv_quantized_cpu",
    source="gemv_quantized_cpu.cl",
    classes=("cpu",),
    defines=_cpu_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 2, 3, 4, 16), "PREFETCH": (64, 0, 32, 128), "HINT": (3, 2)},
    supports=supports_codes,
)
GEMV_CPU = Kernel(
    name="gemv_cpu",
    source="gemv_cpu.cl",
    classes=("cpu",),
    defines=_cpu_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 2, 3, 4, 16), "PREFETCH": (32, 0, 16, 64)},
    supports=supports_floats,
)
HALF_KNOBS = {
    **{"WG": (64, 128, 32, 16), "RUN": (0, 1, 2), "HELD": (8, 16)},
    **{"STRIPS": (1, 2, 4), "MB": (4, 1, 2, 8)},
}
GEMV_HALF = Kernel(
    name="gemv_half",
    source="gemv_half.cl",
    classes=("adreno", "mali", "generic"),
    defines=strips.by_depth(_half_defines),
    grid=strips.by_depth(strip_grid),
    cuts=0,
    knobs={**HALF_KNOBS, "X_IMAGE": (0, 1)},
    supports=supports_halves,
    requires=strips.by_depth(_half_image_requires),
)
GEMV = Kernel(
    name="gemv",
    source="gemv.cl",
    classes=("generic",),
    defines=strips.by_depth(_float_defines),
    grid=strips.by_depth(strip_grid),
    cuts=0,
    knobs={"WG": (128, 16, 64), "RUN": (0, 1, 2), "STRIPS": (1, 2), "MB": (4, 1, 2, 8)},
    requires=strips.by_depth(float_requires),
)
FAMILY = Family(
    name="gemv",
    case=Product,
    arguments=matmul.arguments,
    reference=matmul.reference,
    work=matmul.work,
    cases=QUANTIZED_CASES + HALF_CASES + FLOAT_CASES,
    bench_cases=FLOAT_BENCH + QUANTIZED_BENCH + HALF_BENCH,
    kernels=(GEMV_QUANTIZED_CPU, GEMV_CPU, GEMV_HALF, GEMV),
)
