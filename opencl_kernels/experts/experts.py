"""Products whose matrix is chosen for each row, for few rows: one after the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opencl_kernels.case import At, Defines
from opencl_kernels.experts.chosen import (
    Chosen,
    InSlots,
    Mix,
    arguments,
    cpu_defines,
    defines,
    laid_out,
    reference,
    work,
)
from opencl_kernels.family import Family
from opencl_kernels.kernel import Grid, Kernel, Knobs, Requires, worker_grid
from opencl_kernels.layouts import F16, F32, quantized
from opencl_kernels.map.indexed import Operand, floats
from opencl_kernels.matmul import strips
from opencl_kernels.matmul.glu import Glu


def in_slots(case: Chosen, S: int, T: int, first: int = 0) -> Chosen:
    """The same with its matrices in records, from this word of each on."""
    places, end = laid_out(case.matrix, first)
    return replace(case, slots=InSlots(end, places, S, T))


def _supports_floats(case: Chosen) -> str | None:
    return "it reads floats" if case.w.bits else None


def _supports_codes(case: Chosen) -> str | None:
    return None if case.w.bits else "it reads codes"


def _strip_defines(case: Chosen, knobs: Knobs) -> Defines:
    return {**defines(case, knobs), **strips.runs(case, knobs)}


def _strip_grid(case: Any, knobs: Knobs) -> Grid:
    return (strips.count(case.N) * knobs["WG"], case.rows), (knobs["WG"], 1)


def _strip_requires(_: Chosen, knobs: Knobs) -> Requires:
    """The slices' sums of a strip."""
    return Requires(local_bytes=4 * strips.sums(knobs))


CASES = (
    Chosen(M=1, choices=2, E=4, N=7, K=3),
    Chosen(M=5, choices=3, E=5, N=65, K=63, bias=True, shared=False, at=At(seq=5)),
    Chosen(M=3, choices=1, E=2, N=64, K=40, glu=Glu(23, "relu"), w=F16, index="i32"),
    Chosen(M=1, choices=2, E=3, N=33, K=129, w=quantized("e0m4", 32, "f16", "u8"), bias=True),
    Chosen(M=7, choices=2, E=4, N=96, K=65, w=quantized("q8", 16, "f32"), glu=Glu(47), bias=True),
    Chosen(M=4, choices=2, E=2, E0=2, experts=5, N=20, K=17, x="f16", y="f16", shared=False, w=F16),
    Chosen(M=6, choices=2, E=2, experts=5, N=20, K=31, B=2, at=At(seq=3)),
    Chosen(M=1, choices=4, E=8, N=130, K=257, w=quantized("e0m4", 64, "f32", "f32"), shared=False),
    Chosen(M=1, choices=2, E=4, N=192, K=515, glu=Glu(90), w=F16),
    Chosen(
        M=5,
        choices=2,
        E=4,
        N=64,
        K=33,
        glu=Glu(23),
        bias=True,
        epilogue="Max(v, -7.0) * Sigmoid(1.702 * v) * (u + a0[i1])",
        inputs=floats(23),
        at=At(seq=5),
    ),
    Chosen(M=3, choices=2, E=4, N=35, K=65, w=F16, epilogue="Relu(v)", shared=False),
    Chosen(M=5, choices=4, always=2, E=5, N=33, K=31, at=At(seq=5)),
    Chosen(M=3, choices=3, always=1, E=3, E0=2, experts=5, N=20, K=17, w=F16, index="i32"),
)
MIXED = (
    Chosen(M=1, choices=1, E=2, N=7, K=3, mix=Mix("1.0")),
    Chosen(
        M=3,
        choices=3,
        always=1,
        E=4,
        N=65,
        K=33,
        w=quantized("q8", 32, "f32"),
        shared=False,
        mix=Mix("Where(i1 < 2, a0[2*i0 + i1], 1.0)"),
        inputs=floats(6),
    ),
    Chosen(
        M=5,
        choices=3,
        E=5,
        N=65,
        K=63,
        bias=True,
        shared=False,
        mix=Mix("a0[3*i0 + i1] * 0.5", "a1[65*i0 + i1] + a2[i1]"),
        inputs=(Operand("f32", 15), Operand("f16", 325), Operand("f32", 65)),
        at=At(seq=5),
    ),
    Chosen(
        M=3,
        choices=2,
        E=4,
        N=97,
        K=129,
        w=quantized("e0m4", 32, "f16", "u8"),
        shared=False,
        mix=Mix("a0[2*i0 + i1] / (a0[2*i0] + a0[2*i0 + 1] + 9.0)"),
        inputs=floats(6),
    ),
    *(
        Chosen(
            M=4,
            choices=2,
            E=2,
            E0=first,
            experts=4,
            N=20,
            K=17,
            x="f16",
            y="f16",
            w=F16,
            mix=Mix("a0[2*i0 + i1]", "a1[20*i0 + i1]"),
            inputs=(Operand("f32", 8), Operand("f16", 80)),
        )
        for first in (0, 2)
    ),
)
_CODES = quantized("e0m4", 32, "f16", "u8")
SLOTTED = (
    in_slots(Chosen(M=5, choices=3, E=5, N=65, K=63, bias=True, at=At(seq=5)), 4, 3),
    in_slots(Chosen(M=1, choices=2, E=7, N=96, K=65, w=_CODES, glu=Glu(47), bias=True), 3, 2, 32),
    in_slots(Chosen(M=3, choices=2, E=4, N=64, K=40, w=F16, glu=Glu(23), index="i32"), 6, 4),
    in_slots(
        Chosen(M=4, choices=2, E=3, N=33, K=129, w=quantized("q8", 16, "f32"), shared=False), 3, 3
    ),
)
SLOTTED_MIXED = tuple(
    in_slots(case, S, T, 16) for case, S, T in zip(MIXED[1:4], (4, 7, 2), (3, 4, 2), strict=True)
)
_DECODE = Chosen(M=1, choices=2, E=8, N=3072, K=768, at=At(seq=1))
BENCH = tuple(
    replace(case, w=w)
    for w in (F32, F16, quantized("e0m4", 32, "f16", "u8"))
    for case in (_DECODE, replace(_DECODE, N=768, K=1536, shared=False))
)

EXPERTS_QUANTIZED_CPU = Kernel(
    name="experts_quantized_cpu",
    source="experts_quantized_cpu.cl",
    classes=("cpu",),
    defines=cpu_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 2, 3, 4, 16), "PREFETCH": (64, 0, 32, 128), "HINT": (3, 2)},
    supports=_supports_codes,
)
EXPERTS_CPU = Kernel(
    name="experts_cpu",
    source="experts_cpu.cl",
    classes=("cpu",),
    defines=cpu_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 2, 3, 4, 16), "PREFETCH": (32, 0, 16, 64)},
    supports=_supports_floats,
)
EXPERTS = Kernel(
    name="experts",
    source="experts.cl",
    classes=("generic",),
    defines=_strip_defines,
    grid=_strip_grid,
    cuts=0,
    knobs={"WG": (128, 32, 64), "RUN": (0, 1, 2)},
    requires=_strip_requires,
)
FAMILY = Family(
    name="experts",
    case=Chosen,
    arguments=arguments,
    reference=reference,
    work=work,
    cases=CASES + MIXED + SLOTTED + SLOTTED_MIXED,
    bench_cases=BENCH,
    kernels=(EXPERTS_QUANTIZED_CPU, EXPERTS_CPU, EXPERTS),
)
