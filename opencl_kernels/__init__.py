"""Layer 1: OpenCL kernels and their numpy references; knows nothing of ONNX."""

from __future__ import annotations

from opencl_kernels.attention import attention, rope_kv, split
from opencl_kernels.embedding import embed
from opencl_kernels.experts import experts, gathered
from opencl_kernels.family import Family
from opencl_kernels.kernel import Argument, Kernel, source_text
from opencl_kernels.map import map, maps
from opencl_kernels.matmul import batched, gemm, gemv, pair
from opencl_kernels.norm import rmsnorm
from opencl_kernels.records import add_parts, choose, embed_rows, neurons, products, unpack
from opencl_kernels.reduce import reduce
from opencl_kernels.rows import rows
from opencl_kernels.sampling import sample, slices
from opencl_kernels.scan import scan, scatter, topk

_ALL = (
    embed.FAMILY,
    rmsnorm.RMSNORM,
    rmsnorm.ADD_RMSNORM,
    gemm.FAMILY,
    gemv.FAMILY,
    pair.FAMILY,
    batched.FAMILY,
    experts.FAMILY,
    gathered.FAMILY,
    rope_kv.FAMILY,
    attention.PREFILL,
    attention.DECODE,
    split.SPLIT,
    split.COMBINE,
    sample.FAMILY,
    slices.BEST,
    slices.WEIGHTS,
    slices.PICK,
    map.FAMILY,
    maps.FAMILY,
    rows.FAMILY,
    reduce.FAMILY,
    scan.FAMILY,
    topk.FAMILY,
    scatter.FAMILY,
    neurons.FAMILY,
    products.ROWS,
    products.COLUMNS,
    unpack.FAMILY,
    add_parts.FAMILY,
    choose.FAMILY,
    embed_rows.FAMILY,
)
FAMILIES: dict[str, Family] = {family.name: family for family in _ALL}
KERNELS: dict[str, Kernel] = {kernel.name: kernel for f in _ALL for kernel in f.kernels}

__all__ = ["FAMILIES", "KERNELS", "Argument", "Family", "Kernel", "family_of", "source_text"]


def family_of(kernel: str) -> Family:
    """The family of a kernel, by the kernel's name; KeyError where there is none."""
    for family in FAMILIES.values():
        if any(each.name == kernel for each in family.kernels):
            return family
    raise KeyError(kernel)
