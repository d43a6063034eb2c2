"""Waves of a work-group meet at barriers only: whichever is first, the answers are those of numpy.

A GPU runs waves of a work-group in any order, each up to its next barrier. Kernels run here in the
interpreter of `bench --kernels --count`, in narrow waves and in wide ones; of every work-group the
first wave goes to its barrier before the second begins, then the last one does. So where a barrier
is missing between two waves, one of the two orders reads what is not written yet: NaN, as local
memory begins.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from math import prod

import numpy as np
import pytest
from clang_ir import needs_clang
from launches import check
from real_shapes import of_gpus

from opencl_kernels import KERNELS, Kernel, family_of
from opencl_kernels.attention.heads import Heads
from opencl_kernels.case import At, Case
from opencl_kernels.family import random_inputs
from opencl_kernels.kernel import Knobs
from opencl_kernels.layouts import quantized
from opencl_kernels.matmul.glu import Glu
from opencl_kernels.matmul.matmul import Norm, Product
from opencl_kernels.norm.rmsnorm import Rows
from opencl_kernels.sampling.sample import Choice
from opencl_kernels.tuned import usual_knobs
from toolkit.bench.counting.launches import WAVES, count_launch, program_for
from toolkit.bench.counting.program import Program
from toolkit.bench.counting.waves import Turns
from toolkit.errors import PocketError

pytestmark = needs_clang

WIDTHS = (4, 16, 64)  # of waves: the first Malis', today's, Adreno's
FEW = (16, 64)  # of the quick test: four times as many waves take as much longer
SHUFFLED = 16  # at least, where items of a sub-group exchange what they have
QUICK = 60_000  # operations of a case of the quick test
MORE = 3  # launches of a kernel that the slow test interprets, in up to six ways each
ROOM = 32768  # bytes of local memory


ALONE = {  # kernels whose work-items hand each other nothing
    *("add_parts", "attention_combine", "columns", "embed", "embed_rows", "gemm_half"),
    *("gemm_half_f16", "map", "maps", "reduce", "rope_kv", "rope_kv_pairs", "scan", "scatter"),
    *("topk", "unpack"),
}


def meets(program: Program) -> bool:
    """Whether work-items of a group hand each other anything."""
    return program.function.local_bytes > 0 or any(part.waits for part in program.parts)


def knobs_of(kernel: Kernel, case: Case) -> Iterator[Knobs]:
    """What the classes that have the kernel launch it with, each but once."""
    seen = []
    for device_class in WAVES:
        knobs = usual_knobs(kernel, case, device_class, ROOM)
        if {device_class, "generic"} & {*kernel.classes} and knobs not in (None, *seen):
            seen.append(knobs)
            yield dict(knobs)


def take_turns(
    kernel: Kernel, case: Case, knobs: Knobs, program: Program, widths: tuple[int, ...] = WIDTHS
) -> int:
    """Each width that has several waves, each order, against numpy; how many launches ran."""
    family, needs, ran = family_of(kernel.name), kernel.requires(case, knobs).features, 0
    inputs = random_inputs(family, case, np.random.default_rng(zlib.crc32(kernel.name.encode())))
    least = SHUFFLED if "shuffles" in needs else 1
    for width in widths:
        if least <= width < prod(map(int, kernel.grid(case, knobs)[1])):
            for turns in (Turns.FIRST, Turns.LAST):
                found = count_launch(
                    family, kernel, case, knobs, width, inputs, turns=turns, program=program
                )
                check(family, case, inputs, dict(found.outputs), in_halves="fp16" in needs)
                ran += 1
    return ran


def cases_of(name: str) -> list[Case]:
    """Of a kernel, those that compute anything: the largest below QUICK, down from it, then up."""
    kernel, work = KERNELS[name], family_of(name).work
    some = [each for each in family_of(name).cases if 0 not in getattr(each, "axes", ())]
    found = sorted(
        (each for each in some if kernel.supports(each) is None), key=lambda c: work(c)[1]
    )
    quick = [each for each in found if work(each)[1] <= QUICK]
    return [*quick[::-1], *found[len(quick) :]]


def launches(name: str) -> Iterator[tuple[Kernel, Case, Knobs, Program]]:
    """Those whose work-items meet."""
    kernel = KERNELS[name]
    for case in cases_of(name):
        for knobs in knobs_of(kernel, case):
            program = program_for(kernel, case, knobs)
            if meets(program):
                yield kernel, case, knobs, program


LONG = ("sample", "sample_pick")  # to interpret


def slow_if(slow: bool) -> tuple[pytest.MarkDecorator, ...]:
    return (pytest.mark.slow,) if slow else ()


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=slow_if(each in LONG)) for each in sorted(of_gpus() - ALONE)],
)
def test_any_wave_may_go_first(name: str) -> None:
    assert any(take_turns(*each, FEW) for each in launches(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(of_gpus()))
def test_any_wave_may_go_first_in_more_cases(name: str) -> None:
    ran = sum(take_turns(*each) for each in islice(launches(name), MORE))
    assert (ran == 0) == (name in ALONE)


def missed(name: str, case: Case, width: int) -> list[int]:
    """Which of its barriers a kernel can do without, for all that this test finds."""
    kernel = KERNELS[name]
    knobs = next(knobs_of(kernel, case))
    program = program_for(kernel, case, knobs)
    take_turns(kernel, case, knobs, program, (width,))
    waits = [i for i, part in enumerate(program.parts) if part.waits]
    assert waits
    return [n for n, i in enumerate(waits) if not _found(kernel, case, knobs, program, i, width)]


def _found(
    kernel: Kernel, case: Case, knobs: Knobs, program: Program, barrier: int, width: int
) -> bool:
    """Whether one order of waves shows that a barrier is gone."""
    parts = list(program.parts)
    parts[barrier] = replace(parts[barrier], waits=False)
    try:
        take_turns(kernel, case, knobs, replace(program, parts=parts), (width,))
    except (AssertionError, PocketError):
        return True
    return False


CODES = quantized("q8", 16, "f16")
CHOSEN = {"temperature": 1.5, "seed": 5, "logprobs": 1, "frequency_penalty": -1.5}  # the text's
# Cases whose answers depend on all barriers of a kernel but these: before the first use of memory,
# between items of one wave, or where the case happens to pick the same.
DRILLS: dict[str, tuple[Case, int, list[int]]] = {
    "rmsnorm": (Rows(M=1, D=768, EPS=1e-6, at=At()), 4, [4, 5]),
    "gemv_half": (
        Product(M=1, N=64, K=40, x="f16", w=CODES, norm=Norm(1e-5), glu=Glu(23), at=At()),
        *(4, [0]),
    ),
    "gemm_tiled": (Product(M=19, N=33, K=40, w=CODES, at=At(seq=19)), 4, []),
    "attention_prefill": (Heads(M=3, H=3, G=3, K=40, C=70, at=At(seq=3, past=65)), 16, []),
    "attention_decode_half": (
        Heads(M=1, H=32, G=2, K=24, C=50, x="f16", kv="f16", at=At(past=45)),
        *(16, []),
    ),
    "attention_decode_shuffle": (Heads(M=1, H=9, G=1, K=20, C=9, at=At(past=8)), 16, []),
    "sample_best": (
        Choice(M=1, V=2500, C=90, GROUPS=1, options=CHOSEN, at=At(past=80)),  # two tiles
        16,
        [5],
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=slow_if(each not in ("rmsnorm", "gemv_half"))) for each in DRILLS],
)
def test_a_barrier_that_is_gone_is_found(name: str) -> None:
    case, width, spared = DRILLS[name]
    assert missed(name, case, width) == spared
