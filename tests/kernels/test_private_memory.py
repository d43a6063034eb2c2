"""Kernels of attention, GEMMs and records keep sums in registers: no array is in private memory.

GPUs have none; it is a part of the memory of all, and each access to it one to that. Clang shows
it: an array that is indexed by constants only is gone after its passes, another is an `alloca`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from opencl_kernels import KERNELS
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At, Case
from opencl_kernels.kernel import Knobs, source_text
from opencl_kernels.launch import all_defines, program_text
from opencl_kernels.layouts import F16, Stored, quantized
from opencl_kernels.records.neurons import Neurons
from opencl_kernels.records.products import RecordColumns, RecordRows
from opencl_kernels.records.unpack import Unpack
from opencl_kernels.tuned import default_knobs, usual_knobs

COMPILERS = ("clang", *(f"clang-{version}" for version in range(21, 13, -1)))
COMPILER = next(filter(None, map(shutil.which, COMPILERS)), None)
OPTIONS = "-x cl -cl-std=CL1.2 -target spir64 -Xclang -finclude-default-header -O2 -w"
ROOM = 32768  # of local memory
MODELS = {  # H, G, K, V
    "Gemma 2B": (8, 1, 256, 256),
    "ChatGLM2 6B": (32, 2, 128, 128),
    "Falcon 7B": (71, 1, 64, 64),
    "Llama 3.2 1B": (32, 8, 64, 64),
    "Qwen2.5 1.5B": (12, 2, 128, 128),
    "DeepSeek V3": (128, 128, 192, 128),
}

pytestmark = pytest.mark.skipif(not COMPILER, reason="Clang is not installed (apt install clang)")


def kernel_function(name: str, case: Case, knobs: Knobs) -> str:
    """A kernel as LLVM has it after all passes."""
    kernel = KERNELS[name]
    text = program_text(source_text(kernel.source), all_defines(kernel, case, knobs))
    command = [str(COMPILER), *OPTIONS.split(), "-S", "-emit-llvm", "-o", "-", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = re.search(rf"^define [^\n]*spir_kernel void @{name}\(.*?^}}", done.stdout, re.M | re.S)
    assert found, done.stdout
    return found[0]


def attention_of(model: str) -> Iterator[tuple[str, Heads]]:
    """What the phases of such a model launch."""
    H, G, K, V = MODELS[model]
    one = Heads(M=1, H=H, G=G, K=K, V=V, C=4096, SCALE=K**-0.5, kv="f16", at=At(seq=1))
    yield "attention_prefill", replace(one, M=256, at=At(seq=256))
    yield "attention_decode", one
    yield "attention_split", replace(one, SPLITS=16)
    yield "attention_combine", replace(one, SPLITS=16)


@pytest.mark.parametrize("model", MODELS)
def test_attention_of_real_models_has_no_private_memory(model: str) -> None:
    for name, case in attention_of(model):
        knobs = usual_knobs(KERNELS[name], case, "generic", ROOM)
        assert knobs is not None
        text = kernel_function(name, case, knobs)
        assert "alloca" not in text, (name, re.findall(".*alloca.*", text))


@pytest.mark.parametrize("width", [2048, 4096, 4544])
@pytest.mark.parametrize("weight", [F16, quantized("e0m4", 32, "f16", "u8")], ids=str)
def test_kernels_of_records_have_no_private_memory(width: int, weight: Stored) -> None:
    table: dict[str, Any] = {"PARTS": 3, "D": width, "w": weight, "S": 99, "T": 64, "F": 99}
    half = {"M": 1, "x": "f16"}
    for name, case in (
        ("neurons", Neurons(G=16, act="Relu(v)", **table, **half)),
        ("record_rows", RecordRows(**table, **half)),
        ("columns", RecordColumns(G=16, **table, **half)),
        ("unpack", Unpack(pair=True, **table)),
        ("unpack", Unpack(part=2, column=F16, **table)),
    ):
        text = kernel_function(name, case, default_knobs(KERNELS[name], "generic"))
        assert "alloca" not in text, (name, re.findall(".*alloca.*", text))
