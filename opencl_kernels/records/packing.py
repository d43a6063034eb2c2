"""Records packed in numpy, and unpacked: codes as a quantiser made them, in record.py's order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opencl_kernels.formats import (
    Array,
    FormatError,
    Quantized,
    join_codes,
    split_codes,
)
from opencl_kernels.layouts import Stored
from opencl_kernels.records.record import ABREAST, Record


def pack(record: Record, parts: Sequence[Array | Quantized]) -> Array:
    """uint32 [R, nbytes / 4] of R records, from codes or float16 [R, length] for each part.

    Raises FormatError where codes are of other groups than the record's (see `holds`).
    """
    if len(parts) != record.parts:
        raise FormatError(f"{len(parts)} parts", f"records have {record.parts}", "give each part")
    blobs = [_part_bytes(record, part) for part in parts]
    whole = np.zeros((len(blobs[0]), record.nbytes), np.uint8)
    for number, blob in enumerate(blobs):
        first = number * record.part_bytes
        whole[:, first : first + blob.shape[1]] = blob
    return whole.view(np.uint32)


def unpack(record: Record, records: Array) -> list[Array | Quantized]:
    """The inverse: what each part of uint32 [R, nbytes / 4] holds."""
    raw = np.ascontiguousarray(records).view(np.uint8)
    starts = (number * record.part_bytes for number in range(record.parts))
    read = _codes if record.stored.bits else _halves
    return [read(record, raw[:, first : first + record.part_bytes]) for first in starts]


def values(record: Record, records: Array) -> list[Array]:
    """The numbers [R, length] of each part in float64."""
    parts = unpack(record, records)
    return [
        p.values(np.float64) if isinstance(p, Quantized) else p.astype(np.float64) for p in parts
    ]


def holds(stored: Stored, codes: Quantized) -> bool:
    """Whether records keep these codes as they are; others must be made anew."""
    zero = "" if codes.zero_NG is None else "u8" if codes.zero_NG.dtype == np.uint8 else "float"
    halves = codes.scale_NG.dtype == np.float16
    found = (codes.bits, codes.group, zero)
    return halves and found == (stored.bits, stored.group, stored.zero)


def random(record: Record, count: int, rng: np.random.Generator) -> Array:
    """Some records, for tests."""
    return pack(record, [_random_part(record, count, rng) for _ in range(record.parts)])


def _random_part(record: Record, count: int, rng: np.random.Generator) -> Array | Quantized:
    stored, shape = record.stored, (count, record.length)
    if not stored.bits:
        return rng.standard_normal(shape).astype(np.float16)
    codes = rng.integers(0, 2**stored.bits, shape, np.uint8)
    groups = (count, stored.groups(record.length))
    scale = rng.standard_normal(groups).astype(np.float16)
    zero = rng.integers(0, 2**stored.bits, groups, np.uint8) if stored.zero else None
    return Quantized(codes, scale, zero, stored.bits, stored.group)


def _part_bytes(record: Record, part: Array | Quantized) -> Array:
    """Bytes [R, part_bytes or fewer]."""
    if isinstance(part, Quantized):
        if not holds(record.stored, part):
            raise _unlike(record.stored)
        arrays = (part.scale_NG, part.zero_NG)
        raw = (_filled(record, each).view(np.uint8) for each in arrays if each is not None)
        return np.concatenate([_words(record, part.codes_NK), *raw], axis=1)
    if record.stored.bits or part.dtype != np.float16:
        raise _unlike(record.stored)
    return np.ascontiguousarray(part).view(np.uint8)


def _unlike(stored: Stored) -> FormatError:
    because = f"records hold {stored.dtype} in groups of {stored.group}"
    return FormatError("a part is of other numbers", because, "quantise it along the record")


def _words(record: Record, codes: Array) -> Array:
    group, (count, columns) = record.stored.group, codes.shape
    full = np.zeros((count, record.groups * group), np.uint8)
    full[:, :columns] = codes
    apart = full.reshape(count, record.blocks, ABREAST, group // 8, 8).transpose(0, 1, 3, 2, 4)
    words = join_codes(apart, record.stored.bits)
    return words.reshape(count, record.blocks * group).view(np.uint8)


def _filled(record: Record, per_group: Array) -> Array:
    """Scales or zero points of whole blocks."""
    full = np.zeros((len(per_group), record.groups), per_group.dtype)
    full[:, : per_group.shape[1]] = per_group
    return full


def _codes(record: Record, raw: Array) -> Quantized:
    group, bits, count = record.stored.group, record.stored.bits, len(raw)
    ends = np.cumsum([record.groups * group * bits // 8, 2 * record.groups, record.groups])
    words, scale, zero, *_ = (np.ascontiguousarray(a) for a in np.split(raw, ends, axis=1))
    abreast = words.view(np.uint32).reshape(count, record.blocks, group // 8, ABREAST)
    apart = split_codes(abreast, bits).transpose(0, 1, 3, 2, 4)
    codes = apart.reshape(count, record.groups * group)[:, : record.length]
    used = record.stored.groups(record.length)
    zeros = zero[:, :used] if record.stored.zero else None
    return Quantized(codes, scale.view(np.float16)[:, :used], zeros, bits, group)


def _halves(record: Record, raw: Array) -> Array:
    return np.ascontiguousarray(raw[:, : 2 * record.length]).view(np.float16)
