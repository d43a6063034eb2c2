"""Records: how a row or a column of a weight lies in a table of a flash file, and in its slot.

A record is a few parts of as many numbers, each part rounded up to 16 bytes, all to 64. A part of
E0M4 codes comes in blocks of eight groups, which lie side by side: words u32 [group / 8][8], in
which code j of word (v, i) is element 8 v + j of group i; then the scales of all groups (f16), then
their zero points (u8), unless codes are symmetric. So a vector of words has codes of eight groups,
and their scales apply as a vector. Numbers beyond the part's are codes 0. A part of halves has them
in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from opencl_kernels.case import Defines
from opencl_kernels.formats import (
    Array,
    FormatError,
    Quantized,
    join_codes,
    padded,
    split_codes,
)
from opencl_kernels.layouts import ZEROS, Stored

PAGE = 4096  # bytes that a flash reads at least
PART_BYTES, RECORD_BYTES = 16, 64  # multiples that parts and records are rounded up to
ABREAST = 8  # groups of codes that lie side by side


@dataclass(frozen=True)
class Kind:
    """What the records of a table are made of."""

    parts: tuple[str, ...]  # in their order
    packed: bool = False  # always: what is missing of them mostly lies together


KINDS: Mapping[str, Kind] = {
    "neuron": Kind(("gate", "up", "down")),  # rows of gate and up, a column of down
    "neuron without gate": Kind(("up", "down")),
    "channel": Kind(("up", "gate"), packed=True),  # a column of each
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
        codes = self.stored.dtype == "e0m4" and self.stored.scale == "f16"
        if self.parts < 1 or self.length < 1:
            raise ValueError(f"a record of {self.parts} parts of {self.length} numbers")
        if not (codes and self.stored.zero in ("", "u8")) and self.stored.dtype != "f16":
            raise ValueError(f"no record holds {self.stored}")

    @property
    def groups(self) -> int:
        """Scales of a part: whole blocks; 0 where numbers are halves."""
        return padded(self.stored.groups(self.length), ABREAST) if self.stored.bits else 0

    @property
    def part_bytes(self) -> int:
        """From one part to the next."""
        if not self.stored.bits:
            return padded(2 * self.length, PART_BYTES)
        per_group = self.stored.group * self.stored.bits // 8 + 2 + (self.stored.zero == "u8")
        return padded(self.groups * per_group, PART_BYTES)

    @cached_property
    def nbytes(self) -> int:
        """Of a record; its slot in memory is as large."""
        return padded(self.parts * self.part_bytes, RECORD_BYTES)

    def stride(self, kind: str) -> int:
        """Bytes from a record to the next in a file: whole pages if they waste less than half a one.

        A record that is read alone then costs no page more than its own.
        """
        pages = padded(self.nbytes, PAGE)
        fits = not KINDS[kind].packed and pages - self.nbytes < PAGE // 2
        return pages if fits else self.nbytes

    def pack(self, parts: Sequence[Array | Quantized]) -> Array:
        """uint32 [R, nbytes / 4] of R records, from codes or float16 [R, length] for each part."""
        if len(parts) != self.parts:
            raise FormatError(f"{len(parts)} parts", f"records have {self.parts}", "give each part")
        blobs = [self._part(part) for part in parts]
        whole = np.zeros((len(blobs[0]), self.nbytes), np.uint8)
        for number, blob in enumerate(blobs):
            first = number * self.part_bytes
            whole[:, first : first + blob.shape[1]] = blob
        return whole.view(np.uint32)

    def unpack(self, records: Array) -> tuple[Array | Quantized, ...]:
        """The inverse: what each part of uint32 [R, nbytes / 4] holds."""
        raw = np.ascontiguousarray(records).view(np.uint8)
        starts = (number * self.part_bytes for number in range(self.parts))
        read = self._codes if self.stored.bits else self._halves
        return tuple(read(raw[:, first : first + self.part_bytes]) for first in starts)

    def values(self, records: Array) -> list[Array]:
        """The numbers [R, length] of each part in float64."""
        parts = self.unpack(records)
        return [
            p.values(np.float64) if isinstance(p, Quantized) else p.astype(np.float64)
            for p in parts
        ]

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
        }

    def random(self, count: int, rng: np.random.Generator) -> Array:
        """Some records, for tests."""
        return self.pack([self._random(count, rng) for _ in range(self.parts)])

    def _random(self, count: int, rng: np.random.Generator) -> Array | Quantized:
        shape, bits, group = (count, self.length), self.stored.bits, self.stored.group
        if not bits:
            return rng.standard_normal(shape).astype(np.float16)
        codes = rng.integers(0, 2**bits, shape, np.uint8)
        scales = (count, self.stored.groups(self.length))
        zero = rng.integers(0, 2**bits, scales, np.uint8) if self.stored.zero else None
        return Quantized(codes, rng.standard_normal(scales).astype(np.float16), zero, bits, group)

    def _part(self, part: Array | Quantized) -> Array:
        """Bytes [R, up to part_bytes]."""
        if not self.stored.bits:
            if isinstance(part, Quantized) or part.dtype != np.float16:
                raise _unlike(self.stored, "it is of other numbers")
            return np.ascontiguousarray(part).view(np.uint8)
        if not isinstance(part, Quantized) or not self.holds(part):
            raise _unlike(self.stored, "it is of other codes")
        arrays = (part.scale_NG, part.zero_NG)
        raw = (self._filled(each).view(np.uint8) for each in arrays if each is not None)
        return np.concatenate([self._words(part.codes_NK), *raw], axis=1)

    def holds(self, codes: Quantized) -> bool:
        """Whether these codes are a part's as they are; others must be made anew."""
        zero = "" if codes.zero_NG is None else "u8" if codes.zero_NG.dtype == np.uint8 else "float"
        found = codes.bits, codes.group, codes.scale_NG.dtype, zero
        return found == (self.stored.bits, self.stored.group, np.float16, self.stored.zero)

    def _words(self, codes: Array) -> Array:
        count, columns, group = len(codes), codes.shape[1], self.stored.group
        full = np.zeros((count, self.groups * group), np.uint8)
        full[:, :columns] = codes
        apart = full.reshape(count, -1, ABREAST, group // 8, 8).transpose(0, 1, 3, 2, 4)
        return join_codes(apart, self.stored.bits).reshape(count, -1).view(np.uint8)

    def _filled(self, per_group: Array) -> Array:
        """Scales or zero points of whole blocks."""
        full = np.zeros((len(per_group), self.groups), per_group.dtype)
        full[:, : per_group.shape[1]] = per_group
        return full

    def _codes(self, raw: Array) -> Quantized:
        count, group, bits = len(raw), self.stored.group, self.stored.bits
        ends = np.cumsum([self.groups * group * bits // 8, 2 * self.groups, self.groups])
        words, scale, zero, *_ = (np.ascontiguousarray(a) for a in np.split(raw, ends, axis=1))
        apart = words.view(np.uint32).reshape(count, -1, group // 8, ABREAST)
        codes = split_codes(apart, bits).transpose(0, 1, 3, 2, 4).reshape(count, -1)
        used = self.stored.groups(self.length)
        zeros = zero[:, :used] if self.stored.zero else None
        return Quantized(
            codes[:, : self.length], scale.view(np.float16)[:, :used], zeros, bits, group
        )

    def _halves(self, raw: Array) -> Array:
        return np.ascontiguousarray(raw[:, : 2 * self.length]).view(np.float16)


def _unlike(stored: Stored, because: str) -> FormatError:
    return FormatError(f"no part of a record of {stored.dtype}", because, "quantise it anew")
