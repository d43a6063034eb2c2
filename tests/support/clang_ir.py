"""Kernels as Clang has them after its passes: what they keep in local and in private memory.

GPUs have no private memory; it is a part of the memory of all, and each access to it one to that.
Clang shows it: an array that is indexed by constants only is gone after its passes, another is an
`alloca`.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from math import prod
from typing import NamedTuple

from needed import needs

from opencl_kernels import Kernel
from opencl_kernels.case import Case
from opencl_kernels.kernel import Knobs, source_text
from opencl_kernels.launch import all_defines, program_text
from toolkit.bench.counting.clang import find_clang

FROM_SOURCE = "-x cl -cl-std=CL1.2 -Xclang -finclude-default-header"
FROM_IR = "-x ir"
# All is inlined, as GPUs' compilers do: they call nothing.
OPTIONS = "-target spir64 -O2 -w -mllvm -inline-threshold=1000000 -S -emit-llvm -o - -"
SHUFFLES = """#define cl_khr_subgroup_shuffle 1
uint get_sub_group_id(void);
uint get_max_sub_group_size(void);
uint get_sub_group_local_id(void);
float sub_group_shuffle_xor(float v, uint by);
"""  # which this target does not declare
BYTES = {"float": 4, "i32": 4, "i64": 8, "half": 2, "i16": 2, "i8": 1}
LOCAL = re.compile(r"^@\S+ = internal (?:\w+ )*addrspace\(3\) global (.*?) undef, align", re.M)

needs_clang = needs(find_clang(), "there is no Clang (apt install clang)")


class Memory(NamedTuple):
    """Of one kernel: bytes of local memory, and what is left in private memory."""

    local_bytes: int
    private: tuple[str, ...]


def memory_of(kernel: Kernel, case: Case, knobs: Knobs) -> Memory:
    """What a launch's work-group takes of local memory, and its work-items of private memory."""
    text = _module(kernel, case, knobs)
    private = re.findall(r"= (alloca [^,\n]*)", _function(text, kernel.name))
    return Memory(sum(map(_size, LOCAL.findall(text))), tuple(private))


def body_of(kernel: Kernel, case: Case, knobs: Knobs) -> str:
    """The kernel's function, as text."""
    return _function(_module(kernel, case, knobs), kernel.name)


def _module(kernel: Kernel, case: Case, knobs: Knobs) -> str:
    features = kernel.requires(case, knobs).features
    source = program_text(source_text(kernel.source), all_defines(kernel, case, knobs))
    text = _compiled((SHUFFLES if "shuffles" in features else "") + source, FROM_SOURCE)
    if " = alloca " in _function(text, kernel.name):  # what loops index may lie in memory yet
        text = _compiled(text, FROM_IR)
    return text


def _function(text: str, name: str) -> str:
    """The body of the kernel."""
    found = re.search(rf"^define [^\n]*spir_kernel void @{name}\(.*?^}}", text, re.M | re.S)
    assert found, text
    return found[0]


@cache
def _compiled(text: str, language: str) -> str:
    command = [str(find_clang()), *language.split(), *OPTIONS.split()]
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _size(kind: str) -> int:
    """Bytes of a type: a number, a vector, or arrays of them."""
    *counts, element = re.sub(r"[][<>]", "", kind).split(" x ")
    return BYTES[element] * prod(map(int, counts))
