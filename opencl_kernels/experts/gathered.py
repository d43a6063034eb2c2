"""Products whose matrix is chosen for each row, for many rows: those of each expert together."""

from __future__ import annotations

from dataclasses import replace

from opencl_kernels.case import At, Defines, ceil_div
from opencl_kernels.experts.chosen import Chosen, arguments, cpu_defines, reference, work
from opencl_kernels.experts.experts import CASES, EXPERTS, SLOTTED, in_slots
from opencl_kernels.family import Family
from opencl_kernels.kernel import Kernel, Knobs, worker_grid
from opencl_kernels.layouts import F16, F32, quantized
from opencl_kernels.matmul.glu import Glu


def _defines(case: Chosen, knobs: Knobs) -> Defines:
    depth, group = min(knobs["KC"], case.K), case.w.group or 1
    panel = {"KC": depth, "PANEL_ROWS": ceil_div(depth, group) * group}
    return {**cpu_defines(case, knobs), **panel}


def _supports(case: Chosen) -> str | None:
    return "it leaves each expert's rows apart" if case.mix else None


def _many(case: Chosen, seq: int) -> Chosen:
    return replace(case, M=seq, at=At(seq=seq))


MANY = (
    _many(Chosen(M=1, choices=2, E=3, N=65, K=63, bias=True), 65),
    _many(Chosen(M=1, choices=4, E=4, N=96, K=130, glu=Glu(47), w=F16), 33),
    _many(Chosen(M=1, choices=2, E=5, N=40, K=600, w=quantized("q8", 128, "f16", "u8")), 63),
    _many(Chosen(M=1, choices=1, E=1, N=33, K=257, w=quantized("e0m4", 32, "f16")), 127),
)
SLOTTED_MANY = (in_slots(MANY[1], 5, 3), in_slots(MANY[3], 1, 1, 16))
_PREFILL = _many(Chosen(M=1, choices=2, E=8, N=2048, K=768, glu=Glu(1024)), 512)
BENCH = tuple(
    replace(case, w=w)
    for w in (F32, F16, quantized("e0m4", 32, "f16", "u8"))
    for case in (_PREFILL, replace(_PREFILL, N=768, K=1024, glu=None, shared=False))
)
EXPERTS_GEMM_CPU = Kernel(
    name="experts_gemm_cpu",
    source="experts_gemm_cpu.cl",
    classes=("cpu",),
    defines=_defines,
    grid=worker_grid,
    knobs={"WORKERS": (8, 3, 4, 16), "MR": (12, 6), "KC": (2048, 256), "LIST": (120, 24)},
    supports=_supports,
)
FAMILY = Family(
    name="experts_gemm",
    case=Chosen,
    arguments=arguments,
    reference=reference,
    work=work,
    cases=CASES + MANY + SLOTTED[1:2] + SLOTTED_MANY,
    bench_cases=BENCH,
    kernels=(EXPERTS_GEMM_CPU, EXPERTS),
)
