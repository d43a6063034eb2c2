"""Counts a launch: a kernel, a case, a class of devices; all of it, or some of its work-groups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from opencl_kernels import Family, Kernel
from opencl_kernels.case import Case, case_id, symbols
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.kernel import Argument, Knobs
from toolkit.bench.counting.clang import VARIABLE, VERSIONS, kernel_ir
from toolkit.bench.counting.items import Items
from toolkit.bench.counting.memory import UNWRITTEN, Buffers, Memory, Traffic
from toolkit.bench.counting.program import Program, program_of
from toolkit.bench.counting.reader import read_kernel
from toolkit.bench.counting.waves import Issued, Turns, run
from toolkit.errors import PocketError

WAVES = {"adreno": 64, "mali": 16, "generic": 32}  # items that run in step
AT_ONCE = 8192  # items
HINT = f"name another Clang in {VARIABLE} ({VERSIONS}); POCKETCL_DEBUG=1 shows the traceback"


@dataclass(frozen=True)
class Count:
    """What a launch did; where only some groups ran, what these did."""

    wave: int
    groups: int  # that ran
    of_groups: int  # in the launch
    issued: Issued
    traffic: Mapping[str, Traffic]  # by buffer
    local_bytes: int
    private_bytes: int
    outputs: Mapping[str, Array]

    @property
    def whole(self) -> float:
        """What a figure is multiplied by to be that of the whole launch."""
        return self.of_groups / self.groups


def count_launch(
    family: Family,
    kernel: Kernel,
    case: Case,
    knobs: Knobs,
    wave: int,
    inputs: Mapping[str, Array] | None = None,
    groups: int = 1 << 30,
    turns: Turns = Turns.NONE,
    program: Program | None = None,
) -> Count:
    """Run a launch in waves of a width, on given or random inputs.

    groups   of work-groups at most so many run: the first, the last, and others evenly between
    turns    that waves of a work-group take
    program  of the kernel; None: it is made

    Raises:
        PocketError: there is no Clang, or what it makes cannot be read or does not run to its end.
    """
    program = program or program_for(kernel, case, knobs)
    if inputs is None:
        inputs = random_inputs(family, case, np.random.default_rng(0))
    buffers = Buffers(_contents(family, case, inputs))
    values = [*buffers.bases]
    for name in kernel.requires(case, knobs).images:  # that begin with the argument
        values += [buffers.bases[buffers.names.index(name)], np.int32(0)]
    size, local = kernel.grid(case, knobs)
    size = tuple(map(int, size))
    all_groups = int(np.prod(size)) // int(np.prod(local))
    some = np.unique(np.linspace(0, all_groups - 1, min(groups, all_groups)).astype(np.int64))
    issued = Issued()
    at_once = max(1, AT_ONCE // int(np.prod(local)))
    with _named(kernel, case, "its run in the counter fails"):
        for first in range(0, len(some), at_once):
            items = _items(program, size, local, some[first : first + at_once], wave, buffers)
            bases = zip(program.function.parameters, values, strict=True)
            run(program, items, {name: np.array([base]) for name, base in bases}, issued, turns)
    return Count(
        *(wave, len(some), all_groups, issued, buffers.traffic),
        *(program.function.local_bytes, program.private_bytes),
        {name: buffers.content(name) for name in buffers.names},
    )


def program_for(kernel: Kernel, case: Case, knobs: Knobs) -> Program:
    """A kernel made ready to run; raises PocketError where there is no Clang, or it makes of it
    what cannot be read."""
    text = kernel_ir(kernel, case, knobs)
    with _named(kernel, case, "Clang makes of it what the counter does not know"):
        return program_of(read_kernel(text, kernel.name))


@contextmanager
def _named(kernel: Kernel, case: Case, because: str) -> Iterator[None]:
    """Any error tells the kernel and the case: of many that are counted, one may be at fault."""
    try:
        yield
    except PocketError:
        raise
    except Exception as error:
        what = f"{kernel.name} {case_id(case)} cannot be counted"
        raise PocketError(what, f"{because}: {type(error).__name__}: {error}", HINT) from error


def _items(
    program: Program,
    size: tuple[int, ...],
    local: tuple[int, ...],
    groups: Array,
    wave: int,
    buffers: Buffers,
) -> Items:
    each = np.repeat(np.arange(len(groups)), int(np.prod(local)))
    memory = Memory(buffers, each, program.function.local_bytes, program.private_bytes)
    return Items(size, local, groups, wave, memory)


def _contents(family: Family, case: Case, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every argument in order; outputs hold what no kernel writes."""
    given = {**inputs, "sym": symbols(case)}
    sym = Argument("sym", "i32", given["sym"].shape, family.symbols)
    return {
        each.name: given[each.name] if each.name in given else _unwritten(each)
        for each in (sym, *family.arguments(case))
    }


def _unwritten(each: Argument) -> Array:
    shape, dtype = tuple(map(int, each.shape)), DTYPES[each.dtype]
    raw = np.full(int(np.prod(shape)) * dtype.itemsize, UNWRITTEN, np.uint8)
    return raw.view(dtype).reshape(shape)
