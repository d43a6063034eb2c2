"""What the kernels over records share: their case, the ticket, the slots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np

from opencl_kernels.case import Case, Defines
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument
from opencl_kernels.layouts import Stored
from opencl_kernels.records import packing
from opencl_kernels.records.record import Record

HEAD = 4  # ints of a ticket before its pairs: count, begins, whole, 0


@dataclass(frozen=True, kw_only=True)
class Gathered(Case):
    """Some records of a table, in slots; a ticket says which, and how many.

    Where the ticket's `begins` is 0, a kernel's sums go on from what is there.
    """

    PARTS: int
    D: int  # numbers of a part
    w: Stored
    S: int  # slots
    T: int  # records that a ticket has at most; 0: it takes all as they lie, S = F
    F: int  # indices

    @property
    def record(self) -> Record:
        """What lies in a slot."""
        return Record(self.PARTS, self.D, self.w)

    def of_slots(self, count: int) -> Self:
        """The same with so many slots."""
        return replace(self, S=count)

    def of_tickets(self, most: int) -> Self:
        """The same on at most so many records."""
        return replace(self, T=min(self.T, most))

    def gathered(self) -> tuple[Argument, Argument]:
        """The first arguments of all of these kernels; a ticket of tests is full."""
        slots = partial(packing.random, self.record, self.S)
        return (
            Argument("ticket", "i32", (HEAD + 2 * self.T,), "in", random=self._random_ticket),
            Argument("slots", "u32", (self.S, self.record.nbytes // 4), "weight", random=slots),
        )

    def _random_ticket(self, rng: np.random.Generator) -> Array:
        if not self.T:
            return whole_ticket(self.S)
        slots, indices = (rng.permutation(size)[: self.T] for size in (self.S, self.F))
        return ticket_of(slots, indices, self.T, begins=bool(self.T % 2))

    def chosen(self, inputs: Mapping[str, Array]) -> tuple[Array, list[Array]]:
        """The indices of a ticket's records, and the numbers [R, D] of each part."""
        count, _, whole = inputs["ticket"][:3].tolist()
        pairs = inputs["ticket"][HEAD : HEAD + 2 * count].reshape(-1, 2)
        slots, indices = [np.arange(count)] * 2 if whole else pairs.T
        return indices, packing.values(self.record, inputs["slots"][slots])


def ticket_of(slots: Array, indices: Array, most: int, begins: bool) -> Array:
    """The buffer of a ticket with room for `most` records."""
    ticket = np.full(HEAD + 2 * most, -1, np.int32)
    ticket[:HEAD] = len(slots), begins, 0, 0
    ticket[HEAD : HEAD + 2 * len(slots)] = np.stack([slots, indices], axis=1).reshape(-1)
    return ticket


def whole_ticket(count: int) -> Array:
    """One that takes all records of a table, each in the slot of its number."""
    return np.array([count, 1, 1, 0], np.int32)


def shares(count: int, parts: int) -> Iterator[slice]:
    """Which of so many records each partial sum is of (first_item in common.clh)."""
    for part in range(parts):
        yield slice(part * count // parts, (part + 1) * count // parts)


def summed(inputs: Mapping[str, Array], name: str, sums: Array) -> dict[str, Array]:
    """Sums that begin, or go on from what is there."""
    return {name: sums if inputs["ticket"][1] else sums + inputs[name].astype(np.float64)}


def defines(case: Any) -> Defines:
    """Of the record, and of what the index is below."""
    return {**case.record.defines(), "F": case.F}
