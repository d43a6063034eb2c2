"""Runs one kernel on an OpenCL device; with `toolkit`'s executors, all that imports pyopencl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyopencl as cl

from opencl_kernels.case import Case, row_count, symbol_header, symbols, symbols_of_texts
from opencl_kernels.family import Family
from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.kernel import Argument, Kernel, Knobs, source_text

GUARD = 0xA5  # byte that follows every buffer
TEXEL = 16  # bytes
UNWRITTEN = 0xFF  # byte that outputs hold before the launch: NaN in both float types


@contextmanager
def open_queue(device: Any) -> Iterator[Any]:
    """A queue on a pyopencl device; its context lives as long, which not every driver sees to."""
    context = cl.Context([device])
    yield cl.CommandQueue(context)


def program_text(source: str, defines: Mapping[str, int | float | str]) -> str:
    """The #define header followed by the file."""
    return "".join(f"#define {name} {value}\n" for name, value in defines.items()) + source


def build(
    context: Any,
    device: Any,
    source: str,
    defines: Mapping[str, int | float | str],
    options: Sequence[str] = (),
) -> Any:
    """Compile a kernel's text for a device."""
    text = program_text(source, defines)
    return cl.Program(context, text).build(options=list(options), devices=[device])


def all_defines(kernel: Kernel, case: Case, knobs: Knobs) -> dict[str, int | float | str]:
    """The header of a launch outside a plan: symbols, M, then the kernel's own."""
    header: dict[str, int | float | str] = {**symbol_header(symbols_of_texts(case.B, True))}
    if hasattr(case, "M"):
        header["M"] = row_count(case)
    return {**header, **kernel.defines(case, knobs)}


def built_kernel(
    queue: Any, kernel: Kernel, case: Case, knobs: Knobs, options: Sequence[str] = ()
) -> Any:
    """The kernel as OpenCL has it, for a launch outside a plan."""
    defines = all_defines(kernel, case, knobs)
    program = build(
        queue.context,
        queue.device,
        source_text(kernel.source),
        defines,
        (*kernel.options, *options),
    )
    return cl.Kernel(program, kernel.name)


def launch(
    queue: Any,
    family: Family,
    kernel: Kernel,
    inputs: Mapping[str, Array],
    case: Case,
    knobs: Knobs,
    guard_bytes: int = 64,
    options: Sequence[str] = (),
) -> tuple[dict[str, Array], Array]:
    """Run a kernel once; return every buffer afterwards (`sym` too), and all guard bytes."""
    built = built_kernel(queue, kernel, case, knobs, options)
    return launch_built(queue, built, family, kernel, inputs, case, knobs, guard_bytes)


def launch_built(
    queue: Any,
    built: Any,
    family: Family,
    kernel: Kernel,
    inputs: Mapping[str, Array],
    case: Case,
    knobs: Knobs,
    guard_bytes: int = 64,
) -> tuple[dict[str, Array], Array]:
    """The same of a `built_kernel`."""
    sym = Argument("sym", "i32", symbols(case).shape, family.symbols)
    arguments = (sym, *family.arguments(case))
    given = {**inputs, "sym": symbols(case)}
    images = kernel.requires(case, knobs).images
    lead = _lead(queue)
    wholes = {
        a.name: _upload(queue, a, given.get(a.name), guard_bytes, lead if a.name in images else 0)
        for a in arguments
    }
    buffers = [
        whole.get_sub_region(lead, whole.size - lead) if name in images else whole
        for name, whole in wholes.items()
    ]
    views = [each for name in images for each in (texels_of(wholes[name]), np.int32(lead // TEXEL))]

    size, local = kernel.grid(case, knobs)
    built(queue, tuple(map(int, size)), local, *buffers, *views)

    outputs, guards = {}, []
    for argument, buffer in zip(arguments, buffers, strict=True):
        raw = np.empty(buffer.size, np.uint8)
        cl.enqueue_copy(queue, raw, buffer)
        body, guard = np.split(raw, [buffer.size - guard_bytes])
        dtype = DTYPES[argument.dtype]
        outputs[argument.name] = body.view(dtype).reshape(_shape(argument))
        guards.append(guard)
    return outputs, np.concatenate(guards)


def texels_of(memory: Any) -> Any:
    """All of a buffer as an image: texels of four words of 32 bits."""
    words = cl.ImageFormat(cl.channel_order.RGBA, cl.channel_type.UNSIGNED_INT32)
    flags, count = cl.mem_flags.READ_ONLY, memory.size // TEXEL
    return cl.create_image(memory.context, flags, words, (count,), buffer=memory)


def _lead(queue: Any) -> int:
    """Bytes of other memory before what is read as an image, as in a plan."""
    return int(queue.device.mem_base_addr_align) // 8


def local_memory(queue: Any, built: Any) -> int:
    """What the driver says that a work-group of a built kernel takes of local memory, in bytes."""
    asked = cl.kernel_work_group_info.LOCAL_MEM_SIZE
    return int(built.get_work_group_info(asked, queue.device))


def _shape(argument: Argument) -> tuple[int, ...]:
    return tuple(map(int, argument.shape))


def _upload(queue: Any, argument: Argument, value: Array | None, guard: int, before: int) -> Any:
    dtype, shape = DTYPES[argument.dtype], _shape(argument)
    raw = np.full(before + int(np.prod(shape)) * dtype.itemsize + guard, GUARD, np.uint8)
    content = raw[before : raw.size - guard]
    if value is None:
        content[:] = UNWRITTEN
    else:
        if value.shape != shape or value.dtype != dtype:
            raise ValueError(f"{argument.name}: got {value.dtype}{value.shape}, not {dtype}{shape}")
        content[:] = np.ascontiguousarray(value).view(np.uint8).reshape(-1)
    return cl.Buffer(
        queue.context, cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR, hostbuf=raw
    )
