"""Which records a cache keeps: a rank by the uses so far. The least ranks leave first.

The runner has the same in policies.cpp. Whatever the policy, counts and last uses are kept: a
budget that changes may bring another one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
Floats32: TypeAlias = NDArray[np.float32]
NEVER = -1  # the last use of a record that had none


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

    def note(self, selected: Ints, step: int) -> None:
        """These records, each once, are needed at this step."""
        self.counts[selected] += 1
        self.last[selected] = step


@dataclass(frozen=True)
class Policy:
    """A rank of records (int64), and what the policy does beside ranking."""

    name: str
    rank: Callable[[Uses, Ints], Ints]
    admits: bool = True  # static: what is pinned stays, all else is streamed
    expires: bool = False  # window: what no step of the last `window` needed leaves


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


def policy(name: str) -> Policy:
    """The policy of this name; raises KeyError where there is none: the loader has checked it."""
    return {one.name: one for one in POLICIES}[name]
