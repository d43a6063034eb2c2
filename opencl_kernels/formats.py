"""Bit formats that kernels and passes share: names of element types, weight layouts, E0M4 codes.

n16 stores a weight W[N, K] (N outputs) as [ceil(N/16)][K][16], zero padded: element (n, k) lies at
((n // 16) * K + k) * 16 + n % 16. One vector load brings 16 outputs of one k, so that a matrix
product never transposes; the same bytes serve gemm, gemv and, with N = V and K = D, the embedding.

Quantized weights are W = scale * (code - zero) with a scale and a zero point per group along K.
Their codes lie as words of 32 bits, [ceil(N/32)][K/8][32] for 4 bits (E0M4: Transformer-Lite,
section 3.3) and [ceil(N/32)][K/4][32] for 8: a word holds consecutive k of one row, so placed that
a mask, an OR and now and then a rotation make a float of each (see BIT_POSITIONS). Scales and zero
points lie as [ceil(N/32)][groups][32]. A kernel that makes 32 outputs at a time reads all of them
as one stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BLOCK = 16  # rows of a weight that lie side by side
STRIP = 32  # rows of a quantized one

DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "u32": np.dtype(np.uint32),
    "u8": np.dtype(np.uint8),
}
QUANTIZED = {"e0m4": 4, "q8": 8}  # storage types of quantized weights, and the bits of a code
# Where the lowest bit of each code of a word lies, in the order of k. A code of 4 bits at 19 is
# the top of a float's mantissa: ORed with 1.0 it reads 1 + code/16; at 15, ORed with 16.0, it
# reads 16 + code/16; at 11, with 256.0, 256 + code/16. The others get there by rotations of
# 12 and 24 bits. 8 bits: at 15 (1.0) and 7 (256.0), and by a rotation of 16.
BIT_POSITIONS = {4: (19, 15, 11, 7, 3, 31, 27, 23), 8: (15, 7, 31, 23)}
GROUPS = (16, 32, 64, 128, 256)  # codes along K that share a scale


class FormatError(ValueError):
    """An array that has no place in a format: what, because, and a hint."""

    def __init__(self, what: str, because: str, hint: str) -> None:
        """Keep the three facts apart for whoever prints them."""
        super().__init__(f"{what}: {because} ({hint})")
        self.what, self.because, self.hint = what, because, hint


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy type of a name used in plans, e.g. "f16"."""
    return DTYPES[name]


def dtype_bytes(name: str) -> int:
    """Bytes of one element."""
    return DTYPES[name].itemsize


def padded(rows: int, block: int = BLOCK) -> int:
    """`rows` rounded up to whole blocks."""
    return -(-rows // block) * block


def pack_n16(weight_NK: Array, block: int = BLOCK) -> Array:
    """W[N, K] -> [ceil(N/16), K, 16] of the same type; rows beyond N are zero. Other blocks too."""
    if weight_NK.ndim != 2:
        raise FormatError(
            f"cannot pack a weight of shape {weight_NK.shape}",
            "the layout n16 is for matrices [N, K]",
            "merge its axes to two",
        )
    rows, columns = weight_NK.shape
    full = np.zeros((padded(rows, block), columns), weight_NK.dtype)
    full[:rows] = weight_NK
    return np.ascontiguousarray(full.reshape(-1, block, columns).transpose(0, 2, 1))


def unpack_n16(packed: Array, N: int, K: int, block: int = BLOCK) -> Array:
    """The inverse of `pack_n16`: [ceil(N/16), K, 16] -> W[N, K]."""
    blocks = packed.reshape(-1, K, block)
    return np.ascontiguousarray(blocks.transpose(0, 2, 1).reshape(-1, K)[:N])


def interleave_gate_up(gate_FK: Array, up_FK: Array) -> Array:
    """Gate and up as one weight [2 * FP, K]: blocks of 16 rows in turn, F zero padded to FP."""
    if gate_FK.shape != up_FK.shape:
        raise FormatError(
            f"cannot interleave gate {gate_FK.shape} and up {up_FK.shape}",
            "they must have the same shape [F, K]",
            "keep them as two weights",
        )
    rows, columns = gate_FK.shape
    pair = np.zeros((2, padded(rows), columns), gate_FK.dtype)
    pair[0, :rows], pair[1, :rows] = gate_FK, up_FK
    return pair.reshape(2, -1, BLOCK, columns).transpose(1, 0, 2, 3).reshape(-1, columns)


@dataclass(frozen=True)
class Quantized:
    """A weight W[N, K] as codes: scale * (code - zero), rounded nowhere.

    codes_NK  uint8, below 2**bits
    scale_NG  float32 or float16, G = ceil(K / group)
    zero_NG   uint8, float32 or float16; None stands for 2**(bits - 1) everywhere
    """

    codes_NK: Array
    scale_NG: Array
    zero_NG: Array | None
    bits: int
    group: int

    def values(self, dtype: npt.DTypeLike = np.float32) -> Array:
        """W[N, K]."""
        centre = np.full(1, 2 ** (self.bits - 1), dtype)
        zero = centre if self.zero_NG is None else self._wide(self.zero_NG, dtype)
        codes = self.codes_NK.astype(dtype)
        return np.asarray((codes - zero) * self._wide(self.scale_NG, dtype))

    def _wide(self, per_group: Array, dtype: npt.DTypeLike) -> Array:
        wide = np.repeat(per_group.astype(dtype), self.group, axis=1)
        return wide[:, : self.codes_NK.shape[1]]


def pack_codes(codes_NK: Array, bits: int, group: int) -> Array:
    """uint8 codes [N, K] -> uint32 words [ceil(N/32), KP * bits / 32, 32], KP whole groups."""
    rows, columns = codes_NK.shape
    full = np.zeros((padded(rows, STRIP), padded(columns, group)), np.uint8)
    full[:rows, :columns] = codes_NK
    apart = full.reshape(-1, STRIP, full.shape[1] * bits // 32, 32 // bits)
    return join_codes(apart.transpose(0, 2, 1, 3), bits)


def unpack_codes(words: Array, bits: int, N: int, K: int) -> Array:
    """The inverse of `pack_codes`: uint8 codes [N, K]."""
    codes = split_codes(words, bits)  # [strips, words, 32, codes of a word]
    return np.ascontiguousarray(codes.transpose(0, 2, 1, 3).reshape(padded(N, STRIP), -1)[:N, :K])


def join_codes(codes: Array, bits: int) -> Array:
    """uint8 codes [..., 32 / bits] -> uint32 words [...], each code at its BIT_POSITIONS."""
    words = np.zeros(codes.shape[:-1], np.uint32)
    for j, position in enumerate(BIT_POSITIONS[bits]):
        wide = codes[..., j].astype(np.uint32)
        words |= wide << np.uint32(position)
        if position + bits > 32:  # what passes bit 31 starts again at 0
            words |= wide >> np.uint32(32 - position)
    return words


def split_codes(words: Array, bits: int) -> Array:
    """The inverse of `join_codes`: uint8 codes [..., 32 / bits]."""
    codes = np.empty((*words.shape, 32 // bits), np.uint8)
    for place, position in enumerate(BIT_POSITIONS[bits]):
        turned = words >> np.uint32(position)
        if position + bits > 32:
            turned |= words << np.uint32(32 - position)
        codes[..., place] = turned & np.uint32(2**bits - 1)
    return codes


def pack_groups(per_group_NG: Array) -> Array:
    """Scales or zero points [N, G] -> [ceil(N/32), G, 32]; rows beyond N are zero."""
    return pack_n16(per_group_NG, STRIP)
