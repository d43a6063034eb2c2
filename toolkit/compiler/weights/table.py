"""The weights of a plan: each packed tensor is stored once, and packed when it is written.

Packing is lazy and works on a few rows at a time, so that a large model needs little memory. Equal
matrices (tied embedding and head, in either orientation) are one entry.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_passes.analysis.matrices import KEPT
from onnx_passes.weights.lazy import stored_in
from onnx_passes.weights.quantized import quantized
from opencl_kernels.device_class import WEIGHTS
from opencl_kernels.formats import DTYPES, QUANTIZED
from opencl_kernels.layouts import Stored
from toolkit.compiler.weights.halves import fits_halves
from toolkit.compiler.weights.packing import Storage, codes, floats, gates_and_ups
from toolkit.errors import PocketError
from toolkit.plan.schema import Ref
from toolkit.plan.write import SHARD_BYTES, WeightSource

Array = npt.NDArray[Any]
TYPES = {bits: dtype for dtype, bits in QUANTIZED.items()}
UNSUPPORTED = "run pocketcl inspect MODEL --unsupported"


@dataclass(frozen=True)
class RowSlice:
    """Rows [first, first + count) of a matrix; `refs`: its weights in the plan, by argument."""

    refs: Mapping[str, Ref]
    first: int
    count: int


@dataclass(frozen=True)
class StoredMatrix:
    """A matrix in the table, and a corner of it, which rules out most that are not equal."""

    storage: Storage
    corner: Array
    slices: list[RowSlice]


@dataclass
class WeightTable:
    """The weights of a plan in order of use.

    `storage` is the type of matrices, "f32" or "f16"; None keeps the type of each source. `layouts`
    are those of the device class, by type.
    """

    storage: str | None
    layouts: Mapping[str, str] = field(default_factory=lambda: WEIGHTS)
    forget: Callable[[], None] = lambda: None  # unmaps pages of the source that were read
    shard_bytes: int = SHARD_BYTES
    sources: list[WeightSource] = field(default_factory=list)
    _known: dict[Any, list[RowSlice]] = field(default_factory=dict)
    _matrices: list[StoredMatrix] = field(default_factory=list)
    _types: dict[ir.Value, str] = field(default_factory=dict)  # of matrices of floats
    _finite: set[Any] = field(default_factory=set)  # of `_known`: vectors that a reader wants so

    def vector(
        self, value: ir.Value, first: int = 0, rows: int | None = None, infinite: bool = False
    ) -> Ref:
        """A small tensor, or some rows of it: norm scales, biases, rotary tables, indices.

        Floats are float32, truth values bytes, integers have the bits that their values need.

        infinite  to this reader its elements may be, as those of a mask are
        """
        key = (value, "rows", first, rows)
        if not infinite:
            self._finite.add(key)
        if key not in self._known:
            assert value.const_value is not None
            whole = _plain(value.const_value.numpy())
            array = whole if rows is None else whole[first : first + rows]
            dtype = next(name for name, each in DTYPES.items() if each == array.dtype)
            name = value.name or ""
            if rows is not None:
                name = _sliced(name, first, rows, len(whole))
            source = WeightSource(name, dtype, "rows", array.shape, array.nbytes, lambda: [array])
            ref = self._append(source, lambda: key in self._finite)
            self._known[key] = [RowSlice({"w": ref}, first, array.size)]
        return self._known[key][0].refs["w"]

    def matrix(self, value: ir.Value, transposed: bool) -> list[RowSlice]:
        """The slices of W[N, K]; `value` is [K, N] if `transposed`, as in MatMul."""
        key = (value, "rows of 16")
        if key not in self._known:
            storage = self._storage(value, transposed)
            corner = storage.corner()
            slices = self._equal_to(storage, corner) or self._pack(value.name or "", storage)
            self.forget()
            self._matrices.append(StoredMatrix(storage, corner, slices))
            self._known[key] = slices
        return self._known[key]

    def gate_up(self, halves: Sequence[tuple[ir.Value, int]], width: int) -> list[RowSlice]:
        """The slices of gate and up as one weight, their rows interleaved by 16.

        halves  of each a matrix [K, N], and the first of its columns; there are `width` of both
        """
        key = (*halves, width)
        if key not in self._known:
            gate, up = (self._storage(value, transposed=True) for value, _ in halves)
            storage = gates_and_ups((gate, halves[0][1]), (up, halves[1][1]), width)
            name = "+".join(dict.fromkeys(value.name or "" for value, _ in halves))
            self._known[key] = self._pack(name, storage)
        return self._known[key]

    def columns(self, value: ir.Value, first: int, count: int) -> list[RowSlice]:
        """The slices of some columns of a matrix [K, N]: rows of W[N, K]."""
        key = (value, "columns", first, count)
        if key not in self._known:
            storage = self._storage(value, transposed=True).rows(first, count)
            self._known[key] = self._pack(f"{value.name}[{first}:{first + count}]", storage)
        return self._known[key]

    def experts(self, value: ir.Value, experts: int, gated: bool) -> list[RowSlice]:
        """The slices of matrices [K, E * N] side by side, each of whole experts."""
        key = (value, "experts", experts, gated)
        if key not in self._known:
            storage = self.of_experts(value, experts, gated)
            self._known[key] = self._pack(value.name or "", storage, storage.N // experts)
        return self._known[key]

    def of_experts(self, value: ir.Value, experts: int, gated: bool) -> Storage:
        """The same matrices, which are not in the table: below each other, each of whole strips."""
        return self._storage(value, transposed=True).by_expert(experts, gated)

    def checked(self, source: WeightSource) -> Iterator[Array]:
        """What a source gives that is not in the table; raises where a number is none."""
        return self._checking(source, lambda: True)()

    def twins(self, value: ir.Value) -> list[ir.Value]:
        """Other matrices that are equal to one of the table's, which are stored with it once."""
        own = self._known.get((value, "rows of 16"))
        alike = (key[0] for key, slices in self._known.items() if slices is own)
        return [] if own is None else [other for other in alike if other is not value]

    def bytes_of(self, values: Container[ir.Value]) -> int:
        """Of all that the table has of these, each part once."""
        known = (slices for key, slices in self._known.items() if key[0] in values)
        refs = {ref for slices in known for rows in slices for ref in rows.refs.values()}
        return sum(self.sources[int(ref[-1])].nbytes for ref in refs)

    def stored(self, value: ir.Value) -> Stored:
        """How a matrix is stored."""
        return self._storage(value, transposed=True).stored

    def _storage(self, value: ir.Value, transposed: bool) -> Storage:
        tensor = quantized(value)
        if tensor is not None and self.storage is None:
            dtype = TYPES[tensor.weight.bits]
            return codes(tensor.weight, dtype, self.layouts[dtype])
        assert value.const_value is not None
        kept = value.metadata_props.get(KEPT)
        dtype = self.storage or kept or self._own(value)
        return floats(value, transposed, dtype, self.layouts[dtype])

    def _own(self, value: ir.Value) -> str:
        """The type of floats that a matrix came in, or has room in."""
        if value not in self._types:
            assert value.const_value is not None
            came_in = stored_in(value.const_value)
            half = came_in == ir.DataType.FLOAT16
            if came_in == ir.DataType.BFLOAT16:
                half = fits_halves(value.const_value)
                self.forget()
            self._types[value] = "f16" if half else "f32"
        return self._types[value]

    def _pack(self, name: str, storage: Storage, unit: int = 1) -> list[RowSlice]:
        """Add a matrix to the table, in slices of at most `shard_bytes`, or of `unit` rows."""
        limit = max(unit, storage.rows_within(self.shard_bytes) // unit * unit)
        slices = []
        for first in range(0, storage.N, limit):
            count = min(limit, storage.N - first)
            label = _sliced(name, first, count, storage.N)
            refs = {
                argument: self._append(source)
                for argument, source in storage.sources(label, first, count)
            }
            slices.append(RowSlice(refs, first, count))
        return slices

    def _equal_to(self, storage: Storage, corner: Array) -> list[RowSlice] | None:
        """The slices of an equal matrix that is in the table."""
        for other in self._matrices:  # corners first: most matrices need not be read as a whole
            alike = storage.stored == other.storage.stored and np.array_equal(corner, other.corner)
            if alike and storage.equals(other.storage):
                return other.slices
        return None

    def _append(self, source: WeightSource, finite: Callable[[], bool] = lambda: True) -> Ref:
        self.sources.append(replace(source, produce=self._checking(source, finite)))
        return ("weight", len(self.sources) - 1)

    def _checking(
        self, source: WeightSource, finite: Callable[[], bool]
    ) -> Callable[[], Iterator[Array]]:
        def produce() -> Iterator[Array]:
            for array in source.produce():
                odd = ~np.isfinite(array) if finite() else np.isnan(array)
                if odd.any():
                    raise _not_finite(source)
                yield array
            self.forget()

        return produce


def _sliced(name: str, first: int, count: int, whole: int) -> str:
    """The name of some rows of a tensor, which no other weight may have."""
    return name if count == whole else f"{name}[{first}:{first + count}]"


def _plain(array: Array) -> Array:
    """The elements in a type that kernels read."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind not in "iu":
        return array.astype(np.float32)
    fits = not array.size or (array.min() >= -(2**31) and array.max() < 2**31)
    return array.astype(np.int32 if fits else np.int64)


def _not_finite(source: WeightSource) -> PocketError:
    return PocketError(
        f"weight {source.name} can't be stored",
        f"it has values that are NaN, infinite or too large for {source.dtype}",
        "export it again, or compile with --weights f32 if a value is only too large",
    )
