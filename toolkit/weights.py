"""Weights on their way into a plan: each packed tensor is stored once and made when written.

Packing is lazy and goes by pieces of rows, so that a large model needs little memory. Equal
matrices (tied embedding and head, in whatever orientation the exporter left them) are one entry.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from opencl_kernels.formats import (
    BLOCK,
    dtype_bytes,
    interleave_gate_up,
    numpy_dtype,
    pack_n16,
    padded,
)
from toolkit.plan import Ref
from toolkit.write import SHARD_BYTES, WeightSource

Array = npt.NDArray[Any]
PIECE_BYTES = 16 * 2**20  # what is packed at a time


@dataclass(frozen=True)
class Piece:
    """Rows [first, first + rows) of a matrix, stored as one weight of the plan."""

    ref: Ref
    first: int
    rows: int


@dataclass(frozen=True)
class Matrix:
    """A matrix that is stored, and a corner of it to know it by."""

    value: ir.Value
    transposed: bool
    corner: Array
    pieces: list[Piece]


@dataclass
class WeightTable:
    """The weights of a plan in order of use.

    `storage` is the type of matrices, "f32" or "f16"; None keeps each source's own.
    """

    storage: str | None
    forget: Callable[[], None] = lambda: None  # gives back pages of the source that were read
    shard_bytes: int = SHARD_BYTES
    sources: list[WeightSource] = field(default_factory=list)
    _known: dict[Any, list[Piece]] = field(default_factory=dict)
    _matrices: list[Matrix] = field(default_factory=list)

    def vector(self, value: ir.Value, first: int = 0, rows: int | None = None) -> Ref:
        """A small tensor, or some rows of it, as float32: norm scales, biases, rotary tables."""
        key = (value, "rows", first, rows)
        if key not in self._known:
            whole = _array(value).astype(np.float32)
            array = whole if rows is None else whole[first : first + rows]
            name, size = value.name or "", array.nbytes
            source = WeightSource(name, "f32", "rows", array.shape, size, lambda: [array])
            self._known[key] = [self._append(source, first, array.size)]
        return self._known[key][0].ref

    def matrix(self, value: ir.Value, transposed: bool) -> list[Piece]:
        """W[N, K] in layout n16; `value` is [K, N] if `transposed` (as MatMul has it)."""
        key = (value, "n16")
        if key not in self._known:
            corner = _rows(value, transposed)[:8, :8].copy()
            pieces = self._twin(value, transposed, corner) or self._pack(value, transposed)
            self._matrices.append(Matrix(value, transposed, corner, pieces))
            self._known[key] = pieces
        return self._known[key]

    def gate_up(self, value: ir.Value) -> tuple[Ref, int]:
        """[K, 2F], gate and up side by side, as one weight that interleaves them; and its rows."""
        key = (value, "gate_up")
        depth, width = _dims(value)
        rows, half = 2 * padded(width // 2), width // 2
        dtype = self.dtype(value)

        def produce() -> Iterator[Array]:
            whole = _array(value).T
            for start, stop in self._steps(half, 2 * depth, dtype):
                pair = interleave_gate_up(whole[start:stop], whole[half + start : half + stop])
                yield pack_n16(pair.astype(numpy_dtype(dtype)))

        if key not in self._known:
            nbytes = rows * depth * dtype_bytes(dtype)
            source = WeightSource(value.name or "", dtype, "n16", (rows, depth), nbytes, produce)
            self._known[key] = [self._append(source, 0, rows)]
        return self._known[key][0].ref, rows

    def dtype(self, value: ir.Value) -> str:
        """How a matrix is stored."""
        if self.storage is not None:
            return self.storage
        return "f16" if value.dtype == ir.DataType.FLOAT16 else "f32"

    def _pack(self, value: ir.Value, transposed: bool) -> list[Piece]:
        rows, depth = _dims(value)[::-1] if transposed else _dims(value)
        dtype = self.dtype(value)
        limit = max(BLOCK, self.shard_bytes // (depth * dtype_bytes(dtype)) // BLOCK * BLOCK)
        pieces = []
        for first in range(0, rows, limit):
            count = min(limit, rows - first)
            nbytes = padded(count) * depth * dtype_bytes(dtype)
            name = value.name or ""
            name = name if count == rows else f"{name}[{first}:{first + count}]"
            produce = self._producer(value, transposed, first, count, dtype)
            source = WeightSource(name, dtype, "n16", (count, depth), nbytes, produce)
            pieces.append(self._append(source, first, count))
        return pieces

    def _producer(
        self, value: ir.Value, transposed: bool, first: int, count: int, dtype: str
    ) -> Callable[[], Iterator[Array]]:
        def produce() -> Iterator[Array]:
            whole = _rows(value, transposed)
            for start, stop in self._steps(count, whole.shape[1], dtype):
                yield pack_n16(whole[first + start : first + stop].astype(numpy_dtype(dtype)))

        return produce

    @staticmethod
    def _steps(rows: int, depth: int, dtype: str) -> Iterator[tuple[int, int]]:
        step = max(BLOCK, PIECE_BYTES // (depth * dtype_bytes(dtype)) // BLOCK * BLOCK)
        for start in range(0, rows, step):
            yield start, min(rows, start + step)

    def _twin(self, value: ir.Value, transposed: bool, corner: Array) -> list[Piece] | None:
        """The pieces of an equal matrix that is stored already."""
        for other in self._matrices:
            same = self.dtype(value) == self.dtype(other.value)
            if same and np.array_equal(corner, other.corner):  # else: don't read all of it
                theirs = _rows(other.value, other.transposed)
                if np.array_equal(_rows(value, transposed), theirs):
                    return other.pieces
        return None

    def _append(self, source: WeightSource, first: int, rows: int) -> Piece:
        self.sources.append(replace(source, produce=self._forgetting(source.produce)))
        return Piece(("weight", len(self.sources) - 1), first, rows)

    def _forgetting(self, produce: Callable[[], Iterable[Array]]) -> Callable[[], Iterator[Array]]:
        def pieces() -> Iterator[Array]:
            yield from produce()
            self.forget()

        return pieces


def _array(value: ir.Value) -> Array:
    assert value.const_value is not None
    return value.const_value.numpy()


def _rows(value: ir.Value, transposed: bool) -> Array:
    """The matrix as [N, K]."""
    return _array(value).T if transposed else _array(value)


def _dims(value: ir.Value) -> tuple[int, int]:
    assert value.shape is not None
    rows, columns = value.shape
    return int(rows), int(columns)  # type: ignore[arg-type]
