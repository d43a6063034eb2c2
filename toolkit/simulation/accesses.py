"""What a run asks of tables: for each table its gathers, one after the other.

Tables are independent of each other, so they are gone through one by one: memory holds the numbers
of one table at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from opencl_kernels.formats import Array
from toolkit.offload.policies import Ints
from toolkit.offload.selection import at_point
from toolkit.plan.schema import Gather, Phase, Plan, Point, Select


@dataclass(frozen=True)
class Access:
    """A gather at a step of a run.

    step    of the run's phases, counted from 0
    number  of the gather among those of all phases, as points count them
    gather  as the plan has it
    scores  by which it selects; None: it selects all
    needed  bool by index: what isn't zero, whatever was selected; None: not known
    token   whether the step feeds one token, as decoding does
    ahead   scores that a prefetch of this step goes by, before the gather; None: there is none
    """

    step: int
    number: int
    gather: Gather
    scores: Array | None
    needed: Array | None = None
    token: bool = True
    ahead: Array | None = None

    def rule(self, point: Point) -> Select:
        """With the point's number."""
        return at_point(self.gather.select, point.select[self.number])


class Accesses(Protocol):
    """All accesses of a run; `steps` of one token, and of others."""

    @property
    def tokens(self) -> int:
        """Steps that feed one token each."""

    @property
    def knows_needed(self) -> bool:
        """Whether accesses tell what isn't zero."""

    @property
    def warm(self) -> Mapping[int, Ints]:
        """Of tables the records that were in memory before the first step; none: a cold start."""

    def by_table(self) -> Iterator[tuple[int, Sequence[Access]]]:
        """Each table that is read, with its accesses in the order of steps."""


def gathers_of(plan: Plan) -> list[tuple[Phase, Gather]]:
    """Of all phases, in the order in which points count them."""
    return [(phase, gather) for phase in plan.phases for gather in phase.gathers()]


def needed_scores(access: Access) -> tuple[Select, Array]:
    """The rule that selects just what isn't zero, and its scores."""
    assert access.needed is not None
    return Select("nonzero", ("scratch", 0)), access.needed.astype(np.float32)
