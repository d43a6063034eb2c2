"""Work-items that run at once: who they are, what their registers hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opencl_kernels.formats import Array
from toolkit.bench.counting.ir import Value
from toolkit.bench.counting.memory import Memory

Chosen = Array | None  # which items an instruction runs for, in order; None: all


class Items:
    """Whole work-groups of a launch.

    groups  the linear numbers of the work-groups
    """

    def __init__(
        self, size: Sequence[int], local: Sequence[int], groups: Array, width: int, memory: Memory
    ) -> None:
        each = int(np.prod(local))
        self.count, self.memory = each * len(groups), memory
        self.group = np.repeat(np.arange(len(groups)), each)
        lane = np.tile(np.arange(each), len(groups))
        self.width, self.wave_of_group = width, lane // width
        self.wave = self.group * -(-each // width) + self.wave_of_group
        self.lane = lane % width  # in its wave
        self.local_id = _split(lane, local)
        counts = [total // one for total, one in zip(size, local, strict=True)]
        self.group_id = _split(np.repeat(groups, each), counts)
        self.local_size, self.global_size, self.group_counts = local, size, counts
        self.registers: dict[str, Array] = {}
        self.everyone = np.arange(self.count)

    def numbers(self, chosen: Chosen) -> Array:
        """Of the items that an instruction runs for."""
        return self.everyone if chosen is None else chosen

    def read(self, value: Value, chosen: Chosen) -> Array:
        """An operand: of one row where it's the same for every item."""
        if value.constant is not None:
            return value.constant
        held = self.registers[value.register]
        return held if chosen is None or len(held) == 1 else held[chosen]

    def read_all(self, value: Value, chosen: Chosen) -> Array:
        """An operand with a row for each item."""
        held = self.read(value, chosen)
        count = self.count if chosen is None else len(chosen)
        return np.broadcast_to(held, (count, *held.shape[1:])) if len(held) == 1 else held

    def write(self, name: str, value: Array, chosen: Chosen) -> None:
        """A result; items that did not run keep what they had."""
        held = self.registers.get(name)
        if chosen is None or (held is None and len(value) == 1):
            self.registers[name] = value
            return
        if held is None:
            held = np.zeros((self.count, *value.shape[1:]), value.dtype)
        else:  # another register may be the same array, or a part of it
            held = np.repeat(held, self.count, 0) if len(held) == 1 else held.copy()
        held[chosen] = value
        self.registers[name] = held


def _split(numbers: Array, sizes: Sequence[int]) -> list[Array]:
    """Coordinates of linear numbers, the first the fastest."""
    found = []
    for size in sizes:
        found.append(numbers % size)
        numbers = numbers // size
    return found
