"""Everything that a plan keeps on the device: weights, buffers, symbols and the arena."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyopencl as cl

from opencl_kernels.launch import texels_of
from toolkit.errors import PocketError
from toolkit.executors.opencl.errors import opencl_errors
from toolkit.plan.checks.images import place_of
from toolkit.plan.schema import TEXEL, Buffer, Phase, Plan, Ref, Scratch, Weight

FLAGS = cl.mem_flags
Item: TypeAlias = Scratch | Buffer | Weight


class PlanMemory:
    """The memory of a plan on one device, zero at first; `scratch` places a phase in the arena."""

    def __init__(self, path: Path, plan: Plan, context: cl.Context, queue: cl.CommandQueue) -> None:
        """Allocate all of it; `path` is the plan's folder."""
        self._plan, self._context, self._queue = plan, context, queue
        self._images: dict[cl.Buffer, cl.Image] = {}  # each of all of its buffer
        _check_alignment(plan, context.devices[0])
        arena = max((p.arena_bytes for p in plan.phases), default=0)
        self.symbols = self._zeros("the symbols", 4 * plan.slots)
        self.arena = self._zeros("the arena", max(1, arena))
        self.buffers = [self._zeros(b.name, b.bytes) for b in plan.buffers]
        self._shards = self._mapped_shards(path, plan)  # by file
        with opencl_errors("cannot place the weights"):
            self.weights = [
                self._shards[w.file].get_sub_region(w.offset, w.bytes) for w in plan.weights
            ]

    def scratch(self, phase: Phase) -> list[cl.Buffer]:
        """The scratch tensors of a phase, which share the arena with those of other phases."""
        with opencl_errors(f"cannot place the scratch tensors of phase {phase.name}"):
            return [self.arena.get_sub_region(s.offset or 0, s.bytes) for s in phase.scratch]

    def of(self, ref: Ref, scratch: Sequence[cl.Buffer]) -> cl.Buffer:
        """What an argument of a dispatch means."""
        if len(ref) == 1:
            return self.symbols
        return {"weight": self.weights, "buffer": self.buffers, "scratch": scratch}[ref[0]][ref[1]]

    def view(self, ref: Ref, phase: Phase) -> tuple[cl.Image, np.int32]:
        """All the memory that an argument lies in, as an image, and the texel where it begins."""
        kind, index = ref[0], int(ref[-1])
        whole = self.arena if kind == "scratch" else self.buffers[index]
        if kind == "weight":
            whole = self._shards[self._plan.weights[index].file]
        if whole not in self._images:
            self._images[whole] = texels_of(whole)
        first, _ = place_of(ref, phase, self._plan)
        return self._images[whole], np.int32(first // TEXEL)

    def release(self) -> None:
        """Give the memory back."""
        images = self._images.values()
        for memory in (
            *images,
            *self.weights,
            *self._shards.values(),
            *self.buffers,
            self.arena,
            self.symbols,
        ):
            memory.release()

    def _zeros(self, name: str, nbytes: int) -> cl.Buffer:
        with opencl_errors(f"cannot allocate {nbytes} bytes for {name}"):
            buffer = cl.Buffer(self._context, FLAGS.READ_WRITE, max(4, nbytes))
            cl.enqueue_fill_buffer(self._queue, buffer, np.zeros(1, np.uint8), 0, max(4, nbytes))
        return buffer

    def _mapped_shards(self, path: Path, plan: Plan) -> dict[int, cl.Buffer]:
        """The weights files, without a copy where the device uses host memory."""
        unified = self._context.devices[0].host_unified_memory
        how = FLAGS.USE_HOST_PTR if unified else FLAGS.COPY_HOST_PTR
        shards = {}
        for number in sorted({w.file for w in plan.weights}):
            file = path / plan.files[number].path
            with opencl_errors(f"cannot give {file} to the device"):
                mapped = np.memmap(file, np.uint8, "r")
                shards[number] = cl.Buffer(self._context, FLAGS.READ_ONLY | how, hostbuf=mapped)
        return shards


def item_of(plan: Plan, phase: Phase, ref: Ref) -> Item:
    """The plan's entry for an argument of a dispatch."""
    if len(ref) == 1:
        return Buffer("symbols", "state", "i32", (plan.slots,), 4 * plan.slots)
    return _items(plan, phase)[ref[0]][ref[1]]


def named(plan: Plan, phase: Phase, name: str) -> Ref | None:
    """The argument that a tensor of this name is; None where a phase has none."""
    found = (
        (kind, index)
        for kind, items in _items(plan, phase).items()
        for index, item in enumerate(items)
        if item.name == name
    )
    return next(found, None)


def _items(plan: Plan, phase: Phase) -> Mapping[str, Sequence[Item]]:
    return {"scratch": phase.scratch, "buffer": plan.buffers, "weight": plan.weights}


def _check_alignment(plan: Plan, device: cl.Device) -> None:
    needed, given = device.mem_base_addr_align // 8, int(plan.profile["align"])
    if given % needed:
        raise PocketError(
            f"the plan does not fit {device.name.strip()}",
            f"it aligns memory to {given} bytes, the device needs {needed}",
            "compile the model for this device: pocketcl compile SRC -o PLAN",
        )
