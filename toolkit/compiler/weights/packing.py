"""How a matrix is stored in a plan: as floats in a layout, or as codes with their scales."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_passes.weights import lazy
from onnx_passes.weights.quantized import QuantizedWeight
from opencl_kernels.formats import STRIP, dtype_bytes, interleave_gate_up, numpy_dtype, padded
from opencl_kernels.layouts import LAYOUTS, Part, Stored
from toolkit.plan.write import WeightSource

Array = npt.NDArray[Any]
Reader = Callable[[int, int], list[Array]]  # rows [first, stop) of every part
CHUNK_BYTES = 16 * 2**20  # packed at a time


@dataclass(frozen=True)
class Storage:
    """A matrix W[N, K] and how it is stored; `open` returns a reader of its rows."""

    N: int
    K: int
    stored: Stored
    open: Callable[[], Reader]
    origin: object = None  # the source of codes: the same object has the same codes

    @property
    def block(self) -> int:
        """Rows of a block, which are stored interleaved."""
        return LAYOUTS[self.stored.layout].block

    @property
    def parts(self) -> tuple[Part, ...]:
        """The arrays that store it, the largest first."""
        return LAYOUTS[self.stored.layout].parts(self.stored, self.K)

    def corner(self) -> Array:
        """The first 8 x 8 elements, to compare before whole matrices are read."""
        return self.open()(0, min(8, self.N))[0][:, :8].copy()

    def equals(self, other: "Storage") -> bool:
        """Whether all elements are the same."""
        if self.origin is not None and self.origin is other.origin:
            return True
        ours, theirs = self.open(), other.open()
        return self.N == other.N and all(
            np.array_equal(a, b)
            for span in self._spans(0, self.N)
            for a, b in zip(ours(*span), theirs(*span), strict=True)
        )

    def by_expert(self, experts: int, gated: bool) -> "Storage":
        """Matrices of experts below each other, each padded to whole strips of rows.

        gated  an expert's rows are gates, then ups: they are interleaved by 16
        """
        wide = self.N // experts
        high = 2 * padded(wide // 2) if gated else padded(wide, STRIP)

        def open_all() -> Reader:
            read = self.open()

            def rows_of(expert: int, first: int, stop: int) -> list[Array]:
                start = expert * wide
                if not gated:
                    arrays = read(start + first, start + min(stop, wide))
                    missing = stop - max(first, min(stop, wide))
                    return [np.pad(array, [(0, missing), (0, 0)]) for array in arrays]
                half = wide // 2
                begin, end = start + first // 2, start + min(stop // 2, half)
                pair = read(begin, end), read(half + begin, half + end)
                return [interleave_gate_up(gate, up) for gate, up in zip(*pair, strict=True)]

            def rows(first: int, stop: int) -> list[Array]:
                experts = range(first // high, -(-stop // high))
                spans = ((e, max(first, e * high), min(stop, (e + 1) * high)) for e in experts)
                parts = [rows_of(e, a - e * high, b - e * high) for e, a, b in spans]
                return [np.concatenate(part) for part in zip(*parts, strict=True)]

            return rows

        return replace(self, N=experts * high, open=open_all)

    def rows(self, first: int, count: int) -> "Storage":
        """Some of its rows."""

        def open_rows() -> Reader:
            read = self.open()
            return lambda start, stop: read(first + start, first + stop)

        return replace(self, N=count, open=open_rows, origin=None)

    def rows_within(self, limit: int) -> int:
        """How many rows have a first (and largest) part of at most `limit` bytes."""
        return max(STRIP, limit // self._row_bytes(self.parts[0]) // STRIP * STRIP)

    def sources(self, name: str, first: int, count: int) -> Iterator[tuple[str, WeightSource]]:
        """(argument, weight of the plan) for each part of `count` rows.

        Rows are computed once, when the first part is written; the small others are kept until
        they are written, too.
        """
        waiting: dict[str, list[Array]] = {}

        def lead() -> Iterator[Array]:
            read = self.open()
            for span in self._spans(first, count):
                arrays = [p.pack(a) for p, a in zip(self.parts, read(*span), strict=True)]
                for part, array in zip(self.parts[1:], arrays[1:], strict=True):
                    waiting.setdefault(part.argument, []).append(array)
                yield arrays[0]

        for i, part in enumerate(self.parts):
            key, shape = part.argument, (padded(count, self.block), part.columns)
            nbytes = padded(count, self.block) * self._row_bytes(part)
            produce = lead if i == 0 else lambda key=key: waiting.pop(key)
            label = name if i == 0 else f"{name}.{key}"
            yield key, WeightSource(label, part.dtype, part.layout, shape, nbytes, produce)

    def _row_bytes(self, part: Part) -> int:
        return part.columns * dtype_bytes(part.dtype)

    def _spans(self, first: int, count: int) -> Iterator[tuple[int, int]]:
        step = self.rows_within(CHUNK_BYTES)
        for start in range(first, first + count, step):
            yield start, min(first + count, start + step)


def gates_and_ups(gate: tuple[Storage, int], up: tuple[Storage, int], width: int) -> Storage:
    """Rows of two matrices that are stored alike, interleaved by 16: `width` of each, from on."""
    (gates, gate0), (ups, up0) = gate, up

    def open_pair() -> Reader:
        read_gate, read_up = gates.open(), ups.open()

        def rows(first: int, stop: int) -> list[Array]:
            start, end = first // 2, min(stop // 2, width)
            pair = read_gate(gate0 + start, gate0 + end), read_up(up0 + start, up0 + end)
            return [interleave_gate_up(gate, up) for gate, up in zip(*pair, strict=True)]

        return rows

    return replace(gates, N=2 * padded(width), open=open_pair, origin=None)


def floats(value: ir.Value, transposed: bool, dtype: str, layout: str) -> Storage:
    """Float storage of a constant, which is [K, N] if `transposed`, else [N, K]."""
    assert value.shape is not None and value.const_value is not None
    sizes = [int(d) for d in value.shape]  # type: ignore[arg-type]
    N, K = sizes[::-1] if transposed else sizes
    tensor = value.const_value

    def open_rows() -> Reader:
        source = tensor if isinstance(tensor, lazy.Lazy) else ir.tensor(tensor.numpy())

        def read(first: int, stop: int) -> list[Array]:
            rows = lazy.part(source, int(transposed), first, stop)
            with np.errstate(over="ignore"):  # WeightTable reports overflow
                return [(rows.T if transposed else rows).astype(numpy_dtype(dtype))]

        return read

    return Storage(N, K, Stored(dtype, layout), open_rows)


def codes(weight: QuantizedWeight, dtype: str, layout: str) -> Storage:
    """Storage of a quantized weight: its codes, scales and zero points."""
    stored = Stored(dtype, layout, weight.group, weight.scale, weight.zero or "")

    def rows(first: int, stop: int) -> list[Array]:
        made = weight.make(first, stop)
        extra = [] if made.zero_NG is None else [made.zero_NG]
        return [made.codes_NK, made.scale_NG, *extra]

    return Storage(weight.N, weight.K, stored, lambda: rows, weight)
