"""Bit formats that kernels and passes share: names of element types, and the weight layout n16.

n16 stores a weight W[N, K] (N outputs) as [ceil(N/16)][K][16], zero padded: element (n, k) lies at
((n // 16) * K + k) * 16 + n % 16. One vector load brings 16 outputs of one k, so that a matrix
product never transposes; the same bytes serve gemm, gemv and, with N = V and K = D, the embedding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BLOCK = 16  # rows of a weight that lie side by side

DTYPES: dict[str, np.dtype[Any]] = {
    "f32": np.dtype(np.float32),
    "f16": np.dtype(np.float16),
    "i32": np.dtype(np.int32),
    "i64": np.dtype(np.int64),
    "u8": np.dtype(np.uint8),
}


class FormatError(ValueError):
    """An array that has no place in a format: what, because, and a hint."""

    def __init__(self, what: str, because: str, hint: str) -> None:
        """Keep the three facts apart for whoever prints them."""
        super().__init__(f"{what}: {because} ({hint})")
        self.what, self.because, self.hint = what, because, hint


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy type of a name used in plans, e.g. "f16"."""
    return DTYPES[name]


def dtype_name(dtype: npt.DTypeLike) -> str:
    """The plan's name of a numpy type, e.g. "f16" of float16."""
    for name, known in DTYPES.items():
        if known == np.dtype(dtype):
            return name
    raise FormatError(
        f"no storage type for {np.dtype(dtype)}",
        f"the formats are {', '.join(DTYPES)}",
        "convert the array first",
    )


def dtype_bytes(name: str) -> int:
    """Bytes of one element."""
    return DTYPES[name].itemsize


def padded(rows: int) -> int:
    """`rows` rounded up to whole blocks of 16."""
    return -(-rows // BLOCK) * BLOCK


def pack_n16(weight_NK: Array) -> Array:
    """W[N, K] -> [ceil(N/16), K, 16] of the same type; rows beyond N are zero."""
    if weight_NK.ndim != 2:
        raise FormatError(
            f"cannot pack a weight of shape {weight_NK.shape}",
            "the layout n16 is for matrices [N, K]",
            "merge its axes to two",
        )
    rows, columns = weight_NK.shape
    full = np.zeros((padded(rows), columns), weight_NK.dtype)
    full[:rows] = weight_NK
    return np.ascontiguousarray(full.reshape(-1, BLOCK, columns).transpose(0, 2, 1))


def unpack_n16(packed: Array, N: int, K: int) -> Array:
    """The inverse of `pack_n16`: [ceil(N/16), K, 16] -> W[N, K]."""
    blocks = packed.reshape(-1, K, BLOCK)
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
