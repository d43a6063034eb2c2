"""Which records a cache keeps: a rank by the uses so far. The least ranks leave first.

The runner has the same in policies.cpp. Whatever the policy, counts and last uses are kept: a
budget that changes may bring another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from toolkit.plan.schema import MOST_WINDOW

Ints: TypeAlias = NDArray[np.int64]
Floats32: TypeAlias = NDArray[np.float32]
NEVER = -1  # the last use of a record that had none
MISSED = 20  # a window grows while it misses more than one in so many of what is selected


@dataclass
class Uses:
    """What the records of a table were needed for, by record number.

    `importance` is the mean of ‖h_i‖·‖W_d[:,i]‖ over a calibration; without one all are alike.
    """

    count: int
    importance: Floats32 | None = None
    counts: Ints = field(init=False)
    last: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.count, np.int64)
        self.last = np.full(self.count, NEVER, np.int64)

    def note(self, selected: Ints, step: int, whole: bool = False) -> None:
        """These records, each once, are needed at this step.

        What is read as a whole, as in prefill, doesn't tell which of them a text uses.
        """
        self.counts[selected] += 1
        if not whole:
            self.last[selected] = step


@dataclass(frozen=True)
class Policy:
    """A rank of records (int64), and what the policy does beside ranking."""

    name: str
    rank: Callable[[Uses, Ints], Ints]
    admits: bool = True  # static: what is pinned stays, all else is streamed
    expires: bool = False  # window: what none of its last steps needed leaves


def _last(uses: Uses, records: Ints) -> Ints:
    return uses.last[records]


def _counts(uses: Uses, records: Ints) -> Ints:
    return uses.counts[records]


def _importance(uses: Uses, records: Ints) -> Ints:
    """The bits of fl32(count) · mean in float32: floats that are at least 0 order as their bits."""
    sizes = uses.counts[records].astype(np.float32)
    if uses.importance is not None:
        sizes *= uses.importance[records]
    return sizes.view(np.int32).astype(np.int64)


POLICIES = (
    Policy("static", _counts, admits=False),  # its rank tells only what a smaller budget drops
    Policy("lru", _last),
    Policy("lfu", _counts),
    Policy("window", _last, expires=True),
    Policy("importance", _importance),
)


def adapted(window: int, last: Ints, step: int, room: int, misses: int, selected: int) -> int:
    """Steps that a window has after this one.

    It grows by one while what its steps used fits and too much is missed, and shrinks to what fits.

    last            of the records that are not pinned
    room            slots for them
    misses, selected  records of this step
    """
    ages = step - last[last >= max(0, step - window)]
    unions = np.bincount(ages, minlength=window + 1).cumsum()  # used in the last 1, 2, … steps
    if unions[window] <= room:
        return min(MOST_WINDOW, window + (MISSED * misses > selected))
    return max(1, int((unions[:window] <= room).sum()))


def window_for(frequency: NDArray[Any], slots: int, pinned: int) -> int:
    """The window to begin with, by how often records are selected: independently of each other.

    The least that misses as little as none grows beyond, or the greatest that fits.
    """
    often = np.asarray(frequency, np.float64)
    rest, room = 1 - often[pinned:], slots - pinned

    def enough(window: int) -> bool:
        return bool(MISSED * ((1 - rest) * rest**window).sum() <= often.sum())

    def fits(window: int) -> bool:
        return bool((1 - rest**window).sum() <= room)

    low, high = 1, MOST_WINDOW
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) and not enough(middle - 1) else (low, middle - 1)
    return low


def policy(name: str) -> Policy:
    """The policy of this name; raises KeyError where there is none: the loader has checked it."""
    return {one.name: one for one in POLICIES}[name]
