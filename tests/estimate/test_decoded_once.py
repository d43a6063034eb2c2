"""Why prefill has no kernel that decodes a weight to halves once, for a product of halves.

By the profiles that takes longer than the fused product at the chunks of their class: the decoded
weight is written and read; the tile of halves takes fewer instructions, and has twice as many
sums in registers. Where this fails, figures of devices have come that say otherwise: build it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from opencl_kernels import FAMILIES
from opencl_kernels.case import At
from opencl_kernels.device_class import CLASSES
from opencl_kernels.kernel import nbytes
from opencl_kernels.layouts import F16, Stored, quantized, weight_arguments
from opencl_kernels.matmul.matmul import Product
from toolkit.compiler.cost.predicted import seconds_of
from toolkit.compiler.cost.rates import Rates, rates_of
from toolkit.compiler.cost.work import Work, share_names
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError

GEMM = FAMILIES["gemm"]
BANDWIDTH = 0.6  # the most that profiles say of any kernel of phones


def fused(case: Product, rates: Rates) -> float:
    moved, operations = GEMM.work(case)
    return seconds_of(Work("gemm", share_names(GEMM, case), moved, operations), rates)


def decoded_once(case: Product, rates: Rates) -> float:
    halves = replace(case, w=F16)
    moved = sum(nbytes(weight_arguments(w, case.N, case.K)) for w in (case.w, F16))
    decoding = moved / (BANDWIDTH * rates.read.value) + rates.launch.value
    return decoding + fused(halves, rates)


@pytest.mark.parametrize("w", [quantized("e0m4", 32, "f16", "u8"), quantized("q8", 32, "f16")])
def test_decoding_once_is_predicted_slower_everywhere(w: Stored) -> None:
    seen = set()
    for name, facts in profiles().items():
        device_class = CLASSES[facts["class"]]
        try:
            rates = rates_of(name, facts, profiles())
        except PocketError:
            continue
        rows = device_class.chunk
        case = Product(M=rows, N=2048, K=2048, x="f16", y="f16", w=w, at=At(seq=rows))
        if not device_class.is_cpu:
            assert decoded_once(case, rates) > fused(case, rates), name
            seen.add(device_class.name)
    assert seen >= {"adreno", "mali"}
