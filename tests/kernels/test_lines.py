"""GEMV reads each line of its weight once: counted from the addresses that its loads ask for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from launches import skip_without
from traced import LINE, skip_without_recorder, traced_loads

from opencl_kernels import FAMILIES, Kernel
from opencl_kernels.case import case_id
from opencl_kernels.family import kernels_for
from opencl_kernels.kernel import nbytes
from opencl_kernels.layouts import F16, quantized, weight_arguments
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from opencl_kernels.tuned import default_knobs

WAVES = {"adreno": 64, "mali": 16}  # items that run in step
GEMV = FAMILIES["gemv"]
CODES = quantized("e0m4", 32, "f16", "u8")
CASES = (  # K of Llama 3.2 1B, Gemma 3, Qwen 2.5 0.5B, SmolLM
    Product(M=1, N=96, K=2048, x="f16", w=CODES, norm=Norm(1e-5)),
    Product(M=1, N=64, K=1152, x="f16", w=CODES, glu=Glu(32)),
    Product(M=1, N=64, K=896, x="f16", w=quantized("e0m4", 64, "f16")),
    Product(M=1, N=64, K=2048, x="f16", w=quantized("e0m4", 128, "f16", "u8")),
    Product(M=1, N=64, K=576, x="f16", w=quantized("q8", 32, "f16")),
    Product(M=1, N=64, K=768, x="f16", w=F16),
)


def launches() -> Iterator[Any]:
    for device_class in WAVES:
        for case in CASES:
            for kernel in kernels_for(GEMV, device_class, case):
                name = f"{device_class}-{kernel.name}-{case_id(case)}"
                yield pytest.param(device_class, kernel, case, id=name)


@pytest.mark.parametrize(("device_class", "kernel", "case"), list(launches()))
def test_a_weight_is_read_once(
    queue: Any, device_class: str, kernel: Kernel, case: Product
) -> None:
    knobs = default_knobs(kernel, device_class)
    skip_without(queue, kernel.requires(case, knobs).features)
    skip_without_recorder(queue)
    loads = traced_loads(queue, GEMV, kernel, case, knobs)
    weight = weight_arguments(case.w, case.N, case.K)
    for part in weight:  # of it nothing is left out, so that no load has escaped the count
        assert len(loads[part.name].covered()) * LINE >= nbytes((part,))
    lines = sum(loads[part.name].lines(WAVES[device_class]) for part in weight)
    assert lines * LINE <= 1.05 * nbytes(weight)
