"""The memory that a launch sees, and which lines of it waves ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from opencl_kernels.formats import Array

PRIVATE, GLOBAL, LOCAL = 0, 1, 3  # spaces, as LLVM numbers them
ALIGNED = 4096  # where buffers begin
LINES = (64, 128)  # bytes
UNWRITTEN = 0xFF  # bytes that no kernel wrote: NaN
REGISTERS = 16  # bytes that one load brings at most


@dataclass
class Traffic:
    """What waves asked for: loads and stores as each item issues them, lines as a wave does.

    together  lines read as a work-group does whose waves go in step: one that several ask for by
              the same instruction counts once, for their core's cache has it then
    """

    loads: int = 0
    stores: int = 0
    read: dict[int, int] = field(default_factory=lambda: dict.fromkeys(LINES, 0))
    written: dict[int, int] = field(default_factory=lambda: dict.fromkeys(LINES, 0))
    together: dict[int, int] = field(default_factory=lambda: dict.fromkeys(LINES, 0))


class Buffers:
    """The arguments of a launch, one after the other in global memory."""

    def __init__(self, contents: Mapping[str, Array]) -> None:
        self.names, sizes = list(contents), [each.nbytes for each in contents.values()]
        rooms = [-(-size // ALIGNED) * ALIGNED + ALIGNED for size in sizes]
        self.bases = np.cumsum([ALIGNED, *rooms[:-1]])
        self.bytes = np.zeros(ALIGNED + sum(rooms), np.uint8)
        self.shapes = {name: (each.dtype, each.shape) for name, each in contents.items()}
        for base, size, each in zip(self.bases, sizes, contents.values(), strict=True):
            self.bytes[base : base + size] = np.ascontiguousarray(each).reshape(-1).view(np.uint8)
        self.ends = self.bases + sizes
        self.traffic = {name: Traffic() for name in contents}

    def content(self, name: str) -> Array:
        """What lies in a buffer now."""
        at, (dtype, shape) = self.names.index(name), self.shapes[name]
        return self.bytes[self.bases[at] : self.ends[at]].view(dtype).reshape(shape)

    def count(self, addresses: Array, size: int, waves: Array, groups: Array, stores: bool) -> None:
        """One instruction: where its items read or write `size` bytes each, who they are.

        Raises IndexError for what lies in no buffer.
        """
        buffer = np.searchsorted(self.bases, addresses, "right") - 1
        if (buffer < 0).any() or (addresses + size > self.ends[buffer]).any():
            raise IndexError("an access outside all buffers")
        first = buffer[0]
        for each in [first] if (buffer == first).all() else np.unique(buffer):
            here = buffer == each
            traffic = self.traffic[self.names[each]]
            _add(traffic, addresses[here], size, waves[here], groups[here], stores)


def _add(
    traffic: Traffic, addresses: Array, size: int, waves: Array, groups: Array, stores: bool
) -> None:
    issued = len(addresses) * -(-size // REGISTERS)
    lines = traffic.written if stores else traffic.read
    if stores:
        traffic.stores += issued
    else:
        traffic.loads += issued
    for line in LINES:
        lines[line] += _lines(addresses, size, line, waves)
        traffic.together[line] += 0 if stores else _lines(addresses, size, line, groups)


def _lines(addresses: Array, size: int, line: int, owners: Array) -> int:
    """That are touched, counted for each owner."""
    first, last = addresses // line, (addresses + size - 1) // line
    owner, most = owners << 40, int((last - first).max())
    each = [owner + np.minimum(first + i, last) for i in range(most + 1)]
    return len(np.unique(np.concatenate(each)))


class Memory:
    """All spaces, for work-items that run at once; those of a work-group share local memory."""

    def __init__(self, buffers: Buffers, groups: Array, local_bytes: int, private: int) -> None:
        self.buffers, self.local_bytes = buffers, local_bytes
        count, items = int(groups.max()) + 1, len(groups)
        self.spaces = {
            GLOBAL: buffers.bytes,
            LOCAL: np.full(_even(local_bytes) * count, UNWRITTEN, np.uint8),
            PRIVATE: np.full(_even(private) * items, UNWRITTEN, np.uint8),
        }
        # An address in local or private memory is an offset: here begin each item's.
        self.bases = {
            LOCAL: groups * _even(local_bytes),
            PRIVATE: np.arange(items) * _even(private),
        }
        self.room = {LOCAL: local_bytes, PRIVATE: private}

    def load(
        self, space: int, at: Array, items: Array, width: int, dtype: np.dtype[np.generic]
    ) -> Array:
        """[items, width] elements from addresses on; raises IndexError outside of the space."""
        unit, places = self._places(space, at, items, width * dtype.itemsize, dtype)
        return np.asarray(self.spaces[space].view(unit)[places].view(dtype))

    def store(self, space: int, at: Array, items: Array, value: Array) -> None:
        """The inverse; of items that store to one place the last one's remains."""
        size = value.shape[1] * value.itemsize
        unit, places = self._places(space, at, items, size, value.dtype)
        self.spaces[space].view(unit)[places] = np.ascontiguousarray(value).view(unit)

    def elements(self, space: int, at: Array, items: Array, dtype: np.dtype[np.generic]) -> Array:
        """Indices in the space as an array of this type."""
        return self._places(space, at, items, dtype.itemsize, dtype)[1][:, 0]

    def _places(
        self, space: int, at: Array, items: Array, size: int, dtype: np.dtype[np.generic]
    ) -> tuple[np.dtype[np.generic], Array]:
        """What memory is read by, as large as addresses allow, and the indices, [items, units]."""
        if space != GLOBAL:
            if (at < 0).any() or (at + size > self.room[space]).any():
                raise IndexError("an access outside local or private memory")
            at = at + self.bases[space][items]
        unit = dtype
        while (at % unit.itemsize).any():  # Clang joins neighbours to larger elements
            unit = np.dtype(f"u{unit.itemsize // 2}")
        return unit, (at // unit.itemsize)[:, None] + np.arange(size // unit.itemsize)


def _even(size: int) -> int:
    """To whole elements of any type."""
    return -(-size // 16) * 16
