"""Records packed in numpy, and unpacked: codes as a quantiser made them, in record.py's order.

Codes of 8 bits have scales and zero points as floats, which hold those of any source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from opencl_kernels.formats import (
    DTYPES,
    Array,
    FormatError,
    Quantized,
    join_codes,
    split_codes,
)
from opencl_kernels.layouts import Stored
from opencl_kernels.records.record import ABREAST, Record


def pack(record: Record, parts: Sequence[Array | Quantized]) -> Array:
    """uint32 [R, nbytes / 4] of R records, from codes or floats [R, length] for each part.

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
    kinds: Mapping[int, Callable[[Record, Array], Array | Quantized]]
    kinds = {4: _codes, 8: _bytes, 0: _floats}
    read = kinds[record.stored.bits]
    return [read(record, raw[:, first : first + record.part_bytes]) for first in starts]


def values(record: Record, records: Array) -> list[Array]:
    """The numbers [R, length] of each part in float64."""
    parts = unpack(record, records)
    return [
        p.values(np.float64) if isinstance(p, Quantized) else p.astype(np.float64) for p in parts
    ]


def holds(stored: Stored, codes: Quantized) -> bool:
    """Whether records keep these codes as they are; others must be made anew."""
    if codes.bits != stored.bits or codes.group != stored.group:
        return False
    arrays = zip((codes.scale_NG, codes.zero_NG), (stored.scale, stored.zero), strict=True)
    return all(
        (each is None) == (not name) and (each is None or each.dtype == DTYPES[name])
        for each, name in arrays
    )


def random(record: Record, count: int, rng: np.random.Generator) -> Array:
    """Some records, for tests."""
    return pack(record, [_random_part(record, count, rng) for _ in range(record.parts)])


def _random_part(record: Record, count: int, rng: np.random.Generator) -> Array | Quantized:
    stored, shape = record.stored, (count, record.length)
    if not stored.bits:
        return rng.standard_normal(shape).astype(DTYPES[stored.dtype])
    codes = rng.integers(0, 2**stored.bits, shape, np.uint8)
    groups = (count, stored.groups(record.length))
    scale = rng.standard_normal(groups).astype(DTYPES[stored.scale])
    drawn = rng.integers(0, 2**stored.bits, groups, np.uint8) if stored.zero else None
    zero = None if drawn is None else drawn.astype(DTYPES[stored.zero])
    return Quantized(codes, scale, zero, stored.bits, stored.group)


def _part_bytes(record: Record, part: Array | Quantized) -> Array:
    """Bytes [R, part_bytes or fewer]."""
    if isinstance(part, Quantized):
        if not holds(record.stored, part):
            raise _unlike(record.stored)
        arrays = (part.scale_NG, part.zero_NG)
        raw = (_filled(record, each).view(np.uint8) for each in arrays if each is not None)
        place = _words if part.bits == 4 else _whole_groups
        return np.concatenate([place(record, part.codes_NK), *raw], axis=1)
    if record.stored.bits or part.dtype != DTYPES[record.stored.dtype]:
        raise _unlike(record.stored)
    return np.ascontiguousarray(part).view(np.uint8)


def _unlike(stored: Stored) -> FormatError:
    because = f"records hold {stored.dtype} in groups of {stored.group}"
    return FormatError("a part is of other numbers", because, "quantise it along the record")


def _whole_groups(record: Record, codes: Array) -> Array:
    full = np.zeros((len(codes), record.groups * record.stored.group), np.uint8)
    full[:, : codes.shape[1]] = codes
    return full


def _words(record: Record, codes: Array) -> Array:
    group, count = record.stored.group, len(codes)
    full = _whole_groups(record, codes)
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


def _bytes(record: Record, raw: Array) -> Quantized:
    stored, groups = record.stored, record.groups
    ends = np.cumsum([groups * stored.group, 4 * groups, 4 * groups])
    codes, scale, zero, *_ = (np.ascontiguousarray(a) for a in np.split(raw, ends, axis=1))
    zeros = zero.view(np.float32) if stored.zero else None
    used = codes[:, : record.length]
    return Quantized(used, scale.view(np.float32), zeros, stored.bits, stored.group)


def _floats(record: Record, raw: Array) -> Array:
    dtype = DTYPES[record.stored.dtype]
    return np.ascontiguousarray(raw[:, : dtype.itemsize * record.length]).view(dtype)
