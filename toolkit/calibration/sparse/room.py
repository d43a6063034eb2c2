"""How the memory that networks have is shared out among their tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opencl_kernels.formats import Array
from toolkit.calibration.sparse.caches import Cache


@dataclass(frozen=True)
class Held:
    """A table: so many records of so many numbers. `first`: it has its place before others do."""

    count: int
    width: float
    first: bool = False

    @property
    def numbers(self) -> float:
        """Of all records."""
        return self.count * self.width


def slots(memory: float, whole: float, tables: Sequence[Held]) -> list[int]:
    """Records that each table has room for, where `memory` is a share of `whole` numbers.

    What comes first takes what it needs; of the rest each table gets the same share, as DIP's
    authors have it.
    """
    room, found = memory * whole, dict[int, int]()
    for number, table in enumerate(tables):
        if table.first:
            found[number] = int(table.count * min(1.0, _over(room, table.numbers)))
            room -= found[number] * table.width
    rest = sum(table.numbers for table in tables if not table.first)
    share = min(1.0, max(0.0, _over(room, rest)))
    return [found.get(n, int(table.count * share)) for n, table in enumerate(tables)]


def _over(room: float, numbers: float) -> float:
    # 0.3 of a table of 10 is three records, not two: 0.3 * 30 / 30 loses its last bit
    return room / numbers * (1 + 1e-12) if numbers else 1.0


def frequent(mask_TN: Array) -> Array:
    """Indices, those first that most tokens take; ties: the lower one."""
    return np.argsort(-mask_TN.mean(axis=0), kind="stable")


def whole(count: int, slots_: int) -> Cache:
    """Of what each token takes whole: the first records stay, whatever the policy."""
    return Cache(np.arange(count), slots_)
