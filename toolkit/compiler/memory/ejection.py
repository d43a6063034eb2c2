"""Tensors at offsets of one arena: where one more fits, and which it ejects if it doesn't fit.

Offsets and sizes are in units of the alignment. A tensor's rivals are handled as numpy arrays, so
that the cost of a search hardly depends on their number.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.plan.arena import Lifetime

LOOK = 300  # fixed cost of a search, in rivals

Array = npt.NDArray[Any]


class Packing:
    """The state of a search for offsets; items that are not placed have offsets below 0.

    `best` are the offsets of the lowest packing of all items so far, `height` is its size.
    """

    def __init__(self, items: Sequence[Lifetime], align: int) -> None:
        sizes = [-(-item.nbytes // align) for item in items]
        self.roof = sum(sizes) + 1  # above every packing
        self.work = 0  # rivals visited so far
        exact = np.int64 if self.roof < 2**62 else np.object_
        self.size: Array = np.array(sizes, exact)
        self.first = np.array([item.first for item in items], np.int64)
        self.last = np.array([item.last for item in items], np.int64)
        self.offset: Array = np.full(len(items), -self.roof, exact)
        self.best, self.height = self.offset, self.roof

    def fill(self, order: Iterable[int]) -> None:
        """Place all items again, each in the lowest gap, in this order."""
        self.offset = np.full_like(self.offset, -self.roof)
        self.settle(order)

    def settle(self, order: Iterable[int]) -> None:
        """Move these items to their lowest gaps, in this order; afterwards all items are placed."""
        for i in order:
            self.offset[i] = -self.roof
            starts, widths = self._gaps(i, self.roof)
            self.offset[i] = starts[(widths >= self.size[i]).argmax()]
        height = int((self.offset + self.size).max(initial=0))
        if height < self.height:
            self.best, self.height = self.offset.copy(), height

    def fit(self, i: int, ceiling: int) -> bool:
        """Place item i in the narrowest gap that holds it, if there is one."""
        starts, widths = self._gaps(i, ceiling)
        wide = np.flatnonzero(widths >= self.size[i])
        if len(wide):
            self.offset[i] = starts[wide[widths[wide].argmin()]]
        return len(wide) > 0

    def force(self, i: int, ceiling: int, penalty: Array, lot: float) -> list[int]:
        """Place item i where it ejects the least penalty; return the ejected items.

        lot  of [0, 1), decides between offsets of equal penalty
        """
        rivals, size = self._rivals(i), self.size[i]
        starts, ends = self.offset[rivals], self.offset[rivals] + self.size[rivals]
        # candidates: at either end of the arena, or touching a rival
        offsets = np.concatenate(([0, ceiling - size], ends, starts - size))
        offsets = offsets[(offsets >= 0) & (offsets <= ceiling - size)]
        # the penalty of rivals that begin below the item's end, without those that end before it
        begun = _sum_below(offsets + size, starts, penalty[rivals])
        cost = begun - _sum_below(offsets + 1, ends, penalty[rivals])
        cheapest = np.flatnonzero(cost == cost.min())
        offset = offsets[cheapest[int(lot * len(cheapest))]]
        ejected = rivals[(starts < offset + size) & (ends > offset)]
        self.offset[ejected] = -self.roof
        self.offset[i] = offset
        return self.by(self.size, ejected)

    def by(self, key: Array, members: Array) -> list[int]:
        """These items, sorted by key."""
        order: list[int] = members[key[members].argsort(kind="stable")].tolist()
        return order

    def near(self, members: Array) -> Array:
        """Items alive together with any of these, of which more have begun than have ended."""
        begun = np.sort(self.first[members]).searchsorted(self.last, side="right")
        ended = np.sort(self.last[members]).searchsorted(self.first)
        return np.flatnonzero(begun > ended)

    def _rivals(self, i: int) -> Array:
        """Items alive together with item i, including itself."""
        rivals = np.flatnonzero((self.first <= self.last[i]) & (self.last >= self.first[i]))
        self.work += LOOK + len(rivals)
        return rivals

    def _gaps(self, i: int, ceiling: int) -> tuple[Array, Array]:
        """Starts and widths of the gaps between item i's rivals, from the lowest."""
        rivals = self._rivals(i)
        rivals = rivals[self.offset[rivals].argsort(kind="stable")]
        ends = np.maximum.accumulate(self.offset[rivals] + self.size[rivals])
        starts = np.concatenate(([0], np.maximum(ends, 0)))
        return starts, np.concatenate((self.offset[rivals], [ceiling])) - starts


def _sum_below(limits: Array, keys: Array, values: Array) -> Array:
    """For each limit, the sum of the values whose key is less."""
    order = keys.argsort(kind="stable")
    sums = np.concatenate(([0], values[order].cumsum()))
    return sums[keys[order].searchsorted(limits)]
