"""Sizes that kernels are timed at: those of models from 125 M to 8 B parameters.

Rows M of 512 are a prefill, of 1 a decode step. A kernel without an entry is timed at its largest
test case.
"""

from __future__ import annotations

from opencl_kernels.kernel import Case, Kernel

SHORT: Case = {"H": 12, "G": 4, "K": 64, "C": 2048, "SCALE": 0.125}
LONG: Case = {**SHORT, "C": 8192}
WIDE: Case = {"H": 32, "G": 8, "K": 128, "C": 8192, "SCALE": 0.088}
ROTARY: Case = {"H": 12, "G": 4, "K": 64, "C": 2048, "R": 64, "CTX": 2048}

GEMM: tuple[Case, ...] = tuple(
    {"M": 512, "N": n, "K": k, "w": w, "seq": 512}
    for w in ("f32", "f16")
    for n, k in ((2048, 2048), (768, 768), (4096, 768), (2048, 5632))
)
GEMV: tuple[Case, ...] = tuple(
    {"M": 1, "N": n, "K": k, "w": w, "seq": 1}
    for w in ("f32", "f16")
    for n, k in ((768, 768), (2048, 2048), (2048, 5632), (11264, 2048), (32000, 768))
)
CODES: Case = {"w": "e0m4", "GROUP": 32, "scale": "f16", "zero": "u8"}
QUANTIZED_GEMM: tuple[Case, ...] = tuple({**case, **CODES} for case in GEMM[:4])
QUANTIZED_GEMV: tuple[Case, ...] = tuple({**case, **CODES} for case in GEMV[:5])
FEW: tuple[Case, ...] = tuple({**QUANTIZED_GEMM[0], "M": m, "seq": m} for m in (2, 4, 8, 16))
NORM: tuple[Case, ...] = tuple(
    {"M": m, "D": d, "EPS": 1e-5, "seq": m} for m in (1, 512) for d in (768, 2048)
)
PREFILL: tuple[Case, ...] = (
    {"M": 512, "seq": 512, "past": 0, **SHORT},
    {"M": 512, "seq": 512, "past": 1536, **SHORT},
    {"M": 256, "seq": 256, "past": 7936, **LONG, "kv": "f16"},
)
DECODE: tuple[Case, ...] = (
    {"M": 1, "seq": 1, "past": 511, **SHORT},
    {"M": 1, "seq": 1, "past": 8191, **LONG},
    {"M": 1, "seq": 1, "past": 8191, **LONG, "kv": "f16"},
    {"M": 1, "seq": 1, "past": 8191, **WIDE, "kv": "f16"},
)
LAST: Case = {"M": 1, "B": 1, "seq": 1, "rows_n": 1, "rows": "last", "C": 2048, "past": 511}
CUTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "repetition_penalty": 1.1}
SPLIT: tuple[Case, ...] = tuple({**case, "SPLITS": 4} for case in DECODE[1:])
SAMPLE: tuple[Case, ...] = (
    {**LAST, "V": 32000, "options": {}},
    {**LAST, "V": 128256, "options": {}},
    {**LAST, "V": 32000, "options": CUTS},
)
BENCH_CASES: dict[str, tuple[Case, ...]] = {
    "embed": ({"M": 1, "V": 32000, "D": 768}, {"M": 512, "V": 32000, "D": 2048, "seq": 512}),
    "rmsnorm": NORM,
    "rmsnorm_cpu": NORM,
    "add_rmsnorm": NORM,
    "add_rmsnorm_cpu": NORM,
    "gemm": GEMM + QUANTIZED_GEMM,
    "gemm_cpu": GEMM + QUANTIZED_GEMM + FEW,
    "gemv": GEMV + QUANTIZED_GEMV,
    "gemv_cpu": GEMV,
    "gemv_quantized_cpu": QUANTIZED_GEMV,
    "rope_kv": (
        {"M": 1, "seq": 1, "past": 511, **ROTARY},
        {"M": 512, "seq": 512, "past": 0, **ROTARY},
    ),
    "attention_prefill": PREFILL,
    "attention_prefill_cpu": PREFILL,
    "attention_decode": DECODE,
    "attention_decode_cpu": DECODE,
    "attention_split": SPLIT,
    "attention_split_cpu": SPLIT,
    "attention_combine": SPLIT,
    "sample": SAMPLE,
    "sample_cpu": SAMPLE,
    "elementwise": ({"EXPR": "a0 + a1", "INPUTS": 2, "COUNT": 1 << 20},),
}


def bench_cases(kernel: Kernel) -> tuple[Case, ...]:
    """The cases that a kernel is timed at."""
    largest = max(kernel.cases, key=lambda case: kernel.work(case)[0])
    return BENCH_CASES.get(kernel.name, (largest,))
