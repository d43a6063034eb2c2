"""Experts as records of a table: the matrices of one, as a weight of the plan would be stored.

So the kernels of products that stay in memory read them where they lie, in slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.experts.networks import ExpertNetwork
from opencl_kernels.experts.chosen import InSlots, laid_out, matrix_arguments
from opencl_kernels.formats import Array, padded
from opencl_kernels.kernel import Argument, nbytes
from opencl_kernels.records.record import PAGE
from toolkit.compiler.weights.table import WeightTable
from toolkit.errors import PocketError
from toolkit.plan.schema import Part, Table

KIND = "expert"
NAMES = ("up", "down")  # of the matrices; that of `up` has gates as well, where there are any
TILE_BYTES = 256 * 1024  # of experts that are read together: a larger read is hardly faster
SHARES = 8  # of few experts, so that they aren't all in staging


@dataclass(frozen=True, eq=False)
class TabledExperts:
    """A network of experts whose matrices lie in a table."""

    network: ExpertNetwork
    table: int
    weights: WeightTable

    @property
    def name(self) -> str:
        """Of the table, and of its gathers."""
        return f"layers.{self.table}.experts"

    @property
    def tile(self) -> int:
        """Experts that a launch takes at most."""
        return max(1, min(self.network.experts // SHARES, TILE_BYTES // self.nbytes))

    def check(self, number: int, paired: bool) -> None:
        """Raise where a product pairs gates with ups otherwise than its matrices lie here."""
        if paired != (self.network.gated and number == 0):
            because = "what its first products compute is not read as gates and ups, or not only so"
            raise PocketError(f"{self.name} cannot be in flash", because, "leave --memory out")

    def in_slots(self, number: int, most: int) -> InSlots:
        """Where the first or second matrix lies; of tickets of at most so many records."""
        first = number * len(self._arrays[0])
        places = self._places[first : first + len(self._arrays[number])]
        return InSlots(self.nbytes // 4, places, self.network.experts, most)

    @property
    def parts(self) -> tuple[str, ...]:
        """Of a record: the arrays of both matrices."""
        return tuple(
            name if i == 0 else f"{name}.{array.name}"
            for name, arrays in zip(NAMES, self._arrays, strict=True)
            for i, array in enumerate(arrays)
        )

    @property
    def entry(self) -> Table:
        """As the plan has it, without file and place."""
        parts = tuple(
            Part(name, 4 * place, nbytes((array,)), array.dtype, int(np.prod(array.shape)))
            for name, place, array in zip(
                self.parts, self._places, chain(*self._arrays), strict=True
            )
        )
        pages = padded(self.nbytes, PAGE)
        stride = pages if pages - self.nbytes < PAGE // 2 else self.nbytes
        return Table(self.name, KIND, self.network.experts, self.nbytes, stride, 0, 0, parts)

    def produce(self) -> Iterator[Array]:
        """All records, one at a time."""
        for expert in range(self.network.experts):
            record = np.zeros(self.nbytes, np.uint8)
            arrays = chain.from_iterable(storage.piece(expert) for storage in self._storages)
            for place, array in zip(self._places, arrays, strict=True):
                raw = array.reshape(-1).view(np.uint8)
                record[4 * place : 4 * place + len(raw)] = raw
            yield record.view(np.uint32)[None]
            self.weights.forget()

    @property
    def nbytes(self) -> int:
        """Of a record."""
        return 4 * self._layout[1]

    @cached_property
    def _storages(self) -> tuple[_OfExperts, _OfExperts]:
        pairs = zip(self.network.weights, (self.network.gated, False), strict=True)
        first, last = (
            _OfExperts(self.weights, value, self.network.experts, g) for value, g in pairs
        )
        return first, last

    @cached_property
    def _arrays(self) -> tuple[tuple[Argument, ...], ...]:
        return tuple(storage.arrays for storage in self._storages)

    @cached_property
    def _layout(self) -> tuple[tuple[int, ...], int]:
        return laid_out([*chain(*self._arrays)])

    @property
    def _places(self) -> tuple[int, ...]:
        return self._layout[0]


class _OfExperts:
    """The matrices of experts below each other."""

    def __init__(self, weights: WeightTable, value: ir.Value, experts: int, gated: bool) -> None:
        self.name, self._weights = value.name or "", weights
        self._storage = weights.of_experts(value, experts, gated)
        self._high = self._storage.N // experts

    @property
    def arrays(self) -> tuple[Argument, ...]:
        """Of one expert's."""
        return matrix_arguments(self._storage.stored, self._high, self._storage.K)

    def piece(self, expert: int) -> list[Array]:
        """One expert's, packed."""
        pieces = self._storage.sources(self.name, expert * self._high, self._high)
        return [
            np.concatenate([array.reshape(-1) for array in self._weights.checked(source)])
            for _, source in pieces
        ]
