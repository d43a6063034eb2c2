"""What a read from flash costs: seconds by its size and order.

`FLASHES` imitates devices that are not at hand by t(n) = alpha + n / beta; a measured profile is a
table of rates by size. The runner has the same in flash_model.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from toolkit.errors import PocketError
from toolkit.plan.schema import PAGE, PlannedFlash

Floats: TypeAlias = NDArray[np.float64]
Rates: TypeAlias = Mapping[str, tuple[tuple[int, float], ...]]
ORDERS = ("random", "sequential")  # of a read: where it likes, or where the one before it ended


@dataclass(frozen=True)
class Flash:
    """The cost of reads; `latency` is added once to each batch of them.

    `table` holds, by order, rows (bytes of a read, bytes a second) of ascending size; without one
    a read takes alpha + bytes / beta whatever its order. `alone` is the same where one thread
    reads: some storage does more where several wait for it.
    """

    name: str
    alpha: float = 0.0  # seconds of a request
    beta: float = float("inf")  # bytes a second
    latency: float = 0.0  # seconds of a batch
    source: str = ""
    table: Rates = field(default_factory=dict)
    alone: Rates = field(default_factory=dict)

    def with_threads(self, count: int) -> Flash:
        """The same as it is where so many read."""
        return replace(self, table=self.alone) if count == 1 and self.alone else self

    def seconds(self, size: ArrayLike, order: str = "random") -> Floats:
        """Of reads of these bytes each.

        Between the sizes of a table the logarithm of the time is linear in that of the size; below
        the least a read takes as long as that one, above the greatest it keeps that one's rate.
        """
        bytes_ = np.asarray(size, np.float64)
        if not self.table:
            return np.asarray(self.alpha + bytes_ / self.beta)
        sizes, rates = np.array(self.table[order], np.float64).T
        times = np.log(sizes / rates)
        inside = np.exp(np.interp(np.log(np.maximum(bytes_, 1)), np.log(sizes), times))
        return np.asarray(np.where(bytes_ > sizes[-1], bytes_ / rates[-1], inside))

    @property
    def planned(self) -> PlannedFlash:
        """The same, as a plan has it."""
        if self.table:
            random, sequential = (self.table[order] for order in ORDERS)
            return PlannedFlash(self.name, 0.0, 0.0, self.latency, random, sequential)
        return PlannedFlash(self.name, self.alpha, self.beta, self.latency)

    def slowed(self, speed: float) -> Flash:
        """One that has this share of its speed, whatever is read."""
        table, alone = (
            {
                order: tuple((size, rate * speed) for size, rate in rows)
                for order, rows in rates.items()
            }
            for rates in (self.table, self.alone)
        )
        found = replace(self, alpha=self.alpha / speed, beta=self.beta * speed)
        return replace(found, latency=self.latency / speed, table=table, alone=alone)

    @property
    def gap(self) -> int:
        """Whole pages that are read and discarded sooner than asking once more: alpha · beta.

        Of a table: by the time and the rate of its least and its greatest random reads.
        """
        alpha, beta = (self.alpha, self.beta) if not self.table else self._line()
        return int(alpha * beta) // PAGE * PAGE if alpha else 0

    def _line(self) -> tuple[float, float]:
        """Alpha and beta of the line through the least and the greatest size of a table."""
        (least, slow), (most, fast) = self.table["random"][0], self.table["random"][-1]
        if most == least or least / slow >= most / fast:
            return 0.0, fast
        beta = (most - least) / (most / fast - least / slow)
        return max(0.0, least / slow - least / beta), beta


FLASHES = (
    Flash("ufs40", 2.95e-6, 3.57e9, source="PowerInfer-2: exact at 4 and at 512 KB"),
    Flash("ufs31", 5.3e-6, 2.0e9, source="2 GB/s; alpha scaled from ufs40: an assumption"),
    Flash("ufs21", 21e-6, 0.5e9, source="0.5 GB/s; alpha scaled from ufs40: an assumption"),
    Flash("m1max", 10.4e-6, 6.1e9, source="LLM in a flash: 6.1 GB/s, 1.25 GB/s at 16 KiB"),
    Flash("a18", 0.0, 1.0e9, source="DIP's simulator: 1 GB/s, whatever the size of a read"),
)


def flash(name: str) -> Flash:
    """The preset of this name; raises PocketError where there is none."""
    for one in FLASHES:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in FLASHES)
    raise PocketError(f"no flash is called {name}", f"there are {known}", "take one of these")
