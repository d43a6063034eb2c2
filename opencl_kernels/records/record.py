"""Records: how a row or a column of a weight lies in a table of a flash file, and in its slot.

A record is a few parts of as many numbers, each part rounded up to 16 bytes, all to 64. A part of
E0M4 codes comes in blocks of eight groups, which lie side by side: words u32 [group / 8][8], in
which code j of word (v, i) is element 8 v + j of group i; then the scales of all groups (f16), then
their zero points (u8), unless codes are symmetric. So a vector of words has codes of eight groups,
and their scales apply as a vector. Numbers beyond the part's are codes 0. A part of halves has them
in order. Rows of an embedding, which nothing multiplies, may also be floats, or codes of 8 bits in
order, before their scales and zero points, which are then floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from opencl_kernels.case import Defines
from opencl_kernels.formats import DTYPES, padded
from opencl_kernels.layouts import ZEROS, Stored

PAGE = 4096  # bytes that a flash reads at least
PART_BYTES, RECORD_BYTES = 16, 64  # multiples that parts and records are rounded up to
FLOATS_BYTES = 32  # parts of floats: eight are read at a time
ABREAST = 8  # groups of codes that lie side by side


# Storage of scales and zero points that each type of codes comes with; floats have none.
HELD: Mapping[str, tuple[tuple[str, str], ...]] = {
    "e0m4": (("f16", ""), ("f16", "u8")),
    "q8": (("f32", ""), ("f32", "f32")),
    "f16": (),
    "f32": (),
}


@dataclass(frozen=True)
class Kind:
    """What the records of a table are made of."""

    parts: tuple[str, ...]  # in their order
    packed: bool = False  # always: what is missing of them mostly lies together


KINDS: Mapping[str, Kind] = {
    "neuron": Kind(("gate", "up", "down")),  # rows of gate and up, a column of down
    "neuron without gate": Kind(("up", "down")),
    "channel": Kind(("up", "gate"), packed=True),  # a column of each
    "channel without gate": Kind(("up",), packed=True),
    "down": Kind(("down",), packed=True),  # a column
    "row": Kind(("row",)),  # of an embedding
}


@dataclass(frozen=True)
class Record:
    """`parts` times `length` numbers, stored as a weight is, but for their order."""

    parts: int
    length: int
    stored: Stored

    def __post_init__(self) -> None:
        """Refuse what no kernel reads."""
        if self.parts < 1 or self.length < 1:
            raise ValueError(f"a record of {self.parts} parts of {self.length} numbers")
        codes = (self.stored.scale, self.stored.zero)
        known = HELD[self.stored.dtype]
        if known and codes not in known:
            raise ValueError(f"no record holds {self.stored}")

    @property
    def blocks(self) -> int:
        """Of a part, each of eight groups; 0 where numbers aren't codes of 4 bits."""
        if self.stored.dtype != "e0m4":
            return 0
        return padded(self.stored.groups(self.length), ABREAST) // ABREAST

    @property
    def groups(self) -> int:
        """Scales of a part; of codes of 4 bits in whole blocks."""
        if self.stored.dtype == "q8":
            return self.stored.groups(self.length)
        return self.blocks * ABREAST

    @property
    def part_bytes(self) -> int:
        """From one part to the next."""
        if self.stored.dtype == "f32":
            return padded(4 * self.length, FLOATS_BYTES)
        if not self.stored.bits:
            return padded(2 * self.length, PART_BYTES)
        sizes = [DTYPES[each].itemsize for each in (self.stored.scale, self.stored.zero) if each]
        per_group = self.stored.group * self.stored.bits // 8 + sum(sizes)
        return padded(self.groups * per_group, PART_BYTES)

    @cached_property
    def nbytes(self) -> int:
        """Of a record; its slot in memory is as large."""
        return padded(self.parts * self.part_bytes, RECORD_BYTES)

    @property
    def arrays(self) -> Mapping[str, tuple[str, int, int]]:
        """Of a part: the type, the first byte and the number of its codes (by bytes), scales, ….

        Of codes of 4 bits in a block with a group that isn't full, nothing is told: they are mixed
        with those beyond the part's numbers.
        """
        stored, groups = self.stored, self.stored.groups(self.length) if self.stored.bits else 0
        if not stored.bits:
            return {"numbers": (stored.dtype, 0, self.length)}
        if stored.dtype == "q8":
            codes, all_codes = self.length, groups * stored.group
        else:
            mixed = self.length % stored.group != 0
            codes, all_codes = (4 * stored.group * n for n in (self.blocks - mixed, self.blocks))
        ends = all_codes + self.groups * DTYPES[stored.scale].itemsize
        found = {
            "codes": ("u8", 0, codes),
            "scale": (stored.scale, all_codes, groups),
            "zero": (stored.zero, ends, groups),
        }
        return {name: each for name, each in found.items() if each[0] and each[2]}

    @property
    def fields(self) -> Iterator[tuple[str, str, int, int]]:
        """Of all parts: name, type, first byte and number of what `arrays` tells."""
        for start in range(0, self.parts * self.part_bytes, self.part_bytes):
            for name, (dtype, first, count) in self.arrays.items():
                yield name, dtype, start + first, count

    def stride(self, kind: str) -> int:
        """Bytes from a record to the next in a file: whole pages, if half a one is not wasted.

        A record that is read alone then takes no page but its own.
        """
        pages = padded(self.nbytes, PAGE)
        fits = not KINDS[kind].packed and pages - self.nbytes < PAGE // 2
        return pages if fits else self.nbytes

    def defines(self) -> Defines:
        """As records.clh reads them."""
        return {
            "PARTS": self.parts,
            "LENGTH": self.length,
            "PART_WORDS": self.part_bytes // 4,
            "RECORD_WORDS": self.nbytes // 4,
            "BITS": self.stored.bits,
            "GROUP": self.stored.group or 32,
            "ZERO": ZEROS.index(self.stored.zero),
            **({"FLOATS": 1} if self.stored.dtype == "f32" else {}),
        }
