"""Layer 1: OpenCL kernels and their numpy references; knows nothing of ONNX."""

from __future__ import annotations

from opencl_kernels.attention.attention import (
    ATTENTION_DECODE,
    ATTENTION_DECODE_CPU,
    ATTENTION_PREFILL,
    ATTENTION_PREFILL_CPU,
)
from opencl_kernels.attention.rope_kv import ROPE_KV
from opencl_kernels.attention.split import (
    ATTENTION_COMBINE,
    ATTENTION_SPLIT,
    ATTENTION_SPLIT_CPU,
)
from opencl_kernels.elementwise.elementwise import ELEMENTWISE
from opencl_kernels.embedding.embed import EMBED
from opencl_kernels.kernel import Argument, Kernel, default_knobs, source_text
from opencl_kernels.matmul.gemm import GEMM, GEMM_CPU
from opencl_kernels.matmul.gemv import GEMV, GEMV_CPU, GEMV_QUANTIZED_CPU
from opencl_kernels.norm.rmsnorm import ADD_RMSNORM, ADD_RMSNORM_CPU, RMSNORM, RMSNORM_CPU
from opencl_kernels.sampling.sample import SAMPLE, SAMPLE_CPU

KERNELS: dict[str, Kernel] = {
    "embed": EMBED,
    "rmsnorm": RMSNORM,
    "rmsnorm_cpu": RMSNORM_CPU,
    "add_rmsnorm": ADD_RMSNORM,
    "add_rmsnorm_cpu": ADD_RMSNORM_CPU,
    "gemm": GEMM,
    "gemm_cpu": GEMM_CPU,
    "gemv": GEMV,
    "gemv_cpu": GEMV_CPU,
    "gemv_quantized_cpu": GEMV_QUANTIZED_CPU,
    "rope_kv": ROPE_KV,
    "attention_prefill": ATTENTION_PREFILL,
    "attention_prefill_cpu": ATTENTION_PREFILL_CPU,
    "attention_decode": ATTENTION_DECODE,
    "attention_decode_cpu": ATTENTION_DECODE_CPU,
    "attention_split": ATTENTION_SPLIT,
    "attention_split_cpu": ATTENTION_SPLIT_CPU,
    "attention_combine": ATTENTION_COMBINE,
    "sample": SAMPLE,
    "sample_cpu": SAMPLE_CPU,
    "elementwise": ELEMENTWISE,
}

__all__ = ["KERNELS", "Argument", "Kernel", "default_knobs", "source_text"]
