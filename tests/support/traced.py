"""Which addresses of its buffers a kernel's vector loads read, recorded while it runs on a CPU.

The kernel's own text is compiled with vloadN redefined to write down where it reads, work-item by
work-item, in order. Where waves run in step, the n-th loads of a wave's items are one instruction:
so the lines of memory that it asks for can be counted for waves of any width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pytest

from opencl_kernels import Family, Kernel, source_text
from opencl_kernels.case import Case
from opencl_kernels.family import random_inputs
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Knobs
from opencl_kernels.launch import all_defines, build, launch_built

LINE = 64  # bytes
MOST = 4096  # loads of a work-item
OPTIONS = ("-cl-std=CL3.0",)  # which has variables of a program
NAMES = [f"vload{half}{width}" for half in ("", "_half") for width in (2, 4, 8, 16)]
RECORDER = f"""
__global uint traced_loads[ITEMS];
__global ulong traced_at[ITEMS * {MOST}];
void traced(size_t address, uint bytes) {{
  const int item = get_global_id(1) * get_global_size(0) + get_global_id(0);
  const uint load = traced_loads[item]++;
  if (load < {MOST}) traced_at[item * {MOST} + load] = (ulong)address << 8 | bytes;
}}
#define TRACED(width, i, p) \
  traced((size_t)(p) + (i) * (width) * sizeof(*(p)), (width) * sizeof(*(p)))
"""
READERS = """
#undef vload4
__kernel void traced_reader(__global ulong *at) {
  const int i = get_global_id(0);
  at[i] = traced_at[i];
}
__kernel void traced_base(__global const uchar *buffer, __global ulong *base) {
  *base = (ulong)buffer;
}
"""


@dataclass(frozen=True)
class Loads:
    """Loads from one buffer: their first and last bytes in it, [items, loads]; -1: from elsewhere.

    A row is a work-item; those of a work-group follow each other.
    """

    first: Array
    last: Array
    group: int  # items of a work-group

    def lines(self, wave: int, line: int = LINE) -> int:
        """Lines that all loads ask for: those of one load of a wave once, of the next again."""
        return sum(len(each) for each in self._of_waves(wave, line))

    def _of_waves(self, wave: int, line: int) -> Iterator[set[int]]:
        for start in range(0, len(self.first), min(wave, self.group)):
            items = slice(start, start + min(wave, self.group))
            for first, last in zip(self.first[items].T, self.last[items].T, strict=True):
                read = first >= 0
                yield {*(first[read] // line).tolist(), *(last[read] // line).tolist()}

    def covered(self, line: int = LINE) -> set[int]:
        """The lines that any load asks for."""
        read = self.first >= 0
        return {*(self.first[read] // line).tolist(), *(self.last[read] // line).tolist()}


def traced_loads(
    queue: Any, family: Family, kernel: Kernel, case: Case, knobs: Knobs
) -> dict[str, Loads]:
    """The loads of one launch on random inputs, by the name of the buffer."""
    import pyopencl as cl

    size, group = kernel.grid(case, knobs)
    items = int(prod(size))
    defines = {**all_defines(kernel, case, knobs), "ITEMS": items}
    program = build(queue.context, queue.device, _text(kernel), defines, OPTIONS)
    buffers: list[Any] = []

    def run(queue: Any, size: Any, group: Any, *arguments: Any) -> None:
        buffers.extend(arguments)
        getattr(program, kernel.name)(queue, size, group, *arguments)

    inputs = random_inputs(family, case, np.random.default_rng(0))
    launch_built(queue, run, family, kernel, inputs, case, knobs)
    records = np.empty(items * MOST, np.uint64)
    out = cl.Buffer(queue.context, cl.mem_flags.WRITE_ONLY, records.nbytes)
    program.traced_reader(queue, (len(records),), None, out)
    cl.enqueue_copy(queue, records, out)
    at = (records >> 8).astype(np.int64).reshape(items, MOST)
    last = at + (records & 255).astype(np.int64).reshape(items, MOST) - 1
    assert not at[:, -1].any(), "more loads than are recorded"
    names = ["sym", *(argument.name for argument in family.arguments(case))]
    plain = buffers[: len(names)]  # images of some of them, and texels, come behind
    bases = [(_base(queue, program, buffer), buffer.size) for buffer in plain]
    return {
        name: _inside(at, last, base, size, prod(group))
        for name, (base, size) in zip(names, bases, strict=True)
    }


def _text(kernel: Kernel) -> str:
    widths = ((name, name.rstrip("0123456789")) for name in NAMES)
    loads = (
        f"#define {name}(i, p) (TRACED({name[len(stem) :]}, i, p), {name}(i, p))\n"
        for name, stem in widths
    )
    return "".join([RECORDER, *loads, source_text(kernel.source), READERS])


def _base(queue: Any, program: Any, buffer: Any) -> int:
    import pyopencl as cl

    base = np.empty(1, np.uint64)
    out = cl.Buffer(queue.context, cl.mem_flags.WRITE_ONLY, base.nbytes)
    program.traced_base(queue, (1,), None, buffer, out)
    cl.enqueue_copy(queue, base, out)
    return int(base[0])


def _inside(at: Array, last: Array, base: int, size: int, group: int) -> Loads:
    inside = (at >= base) & (last < base + size)
    return Loads(np.where(inside, at - base, -1), np.where(inside, last - base, -1), group)


def skip_without_recorder(queue: Any) -> None:
    """Skip a test on a device that has no variables of a program."""
    if queue.device.version < "OpenCL 3.0" or "program_scope" not in _features(queue.device):
        pytest.skip(f"{queue.device.name.strip()} has no variables of a program")


def _features(device: Any) -> str:
    return " ".join(str(each.name) for each in device.opencl_c_features)
