"""How much memory each table gets, so that a token takes least: exactly, for all budgets at once.

Each table has a few sizes that it may have, and a time at each. A dynamic programme over tables and
units of memory finds the least sum of times for every budget: each is a look-up then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNITS = 1024  # of memory; a size takes whole ones


@dataclass(frozen=True)
class Sizes:
    """What a table may have: bytes, ascending, and seconds of a token with each."""

    nbytes: Sequence[int]
    seconds: Sequence[float]


@dataclass(frozen=True)
class Share:
    """Seconds of all tables together, the bytes that they take, and which size each has."""

    seconds: float
    nbytes: int
    sizes: tuple[int, ...]


class Allocation:
    """The best sizes of some tables for each budget up to `most` bytes."""

    def __init__(self, tables: Sequence[Sizes], most: int, units: int = UNITS) -> None:
        """Solve it: a step for each table and size, over all units at a time."""
        self._tables, self.unit = tables, max(1, -(-most // units))
        self._units = most // self.unit
        self._best = np.zeros(self._units + 1)
        self._choices = [self._add(table) for table in tables]

    def within(self, budget: int) -> Share | None:
        """The least time in so many bytes; None where they don't hold the least sizes."""
        unit = min(budget // self.unit, self._units)
        if budget < 0 or not np.isfinite(self._best[unit]):
            return None
        return self._share(unit)

    def _add(self, table: Sizes) -> npt.NDArray[np.intp]:
        """One table more: which of its sizes is best for each budget of all so far."""
        times = np.full((len(table.nbytes), self._units + 1), np.inf)
        for row, nbytes, seconds in zip(times, table.nbytes, table.seconds, strict=True):
            first = self._taken(nbytes)
            if first <= self._units:
                row[first:] = self._best[: self._units + 1 - first] + seconds
        self._best = times.min(axis=0)
        return np.asarray(times.argmin(axis=0), np.intp)

    def _taken(self, nbytes: int) -> int:
        return -(-nbytes // self.unit)

    def _share(self, unit: int) -> Share:
        """Back from the last table to the first."""
        seconds, sizes = float(self._best[unit]), list[int]()
        for table, choice in zip(reversed(self._tables), reversed(self._choices), strict=True):
            sizes.insert(0, int(choice[unit]))
            unit -= self._taken(table.nbytes[sizes[0]])
        taken = sum(t.nbytes[size] for t, size in zip(self._tables, sizes, strict=True))
        return Share(seconds, taken, tuple(sizes))
