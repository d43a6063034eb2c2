"""Look-ahead: which prefetches there are, what they go by, and what they have read.

Nobody waits for it and no answer depends on it. The runner's is android_runner/gather/read_ahead.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy.typing as npt

from toolkit.executors.opencl.gather.flash_files import Piece
from toolkit.offload.machine import Machine
from toolkit.plan.schema import Gather, Plan, Point, Prefetch


class ReadAhead:
    """Of a plan's tables.

    noted  a prefetch whose reads the next gather is to begin, and the numbers that it goes by
    there  by table: what has been read, and not been asked for yet
    """

    def __init__(self, plan: Plan, machine: Machine, wanted: bool = True) -> None:
        """`wanted`: False, and nothing is read ahead."""
        self._tables, self._machine, self._wanted = plan.tables, machine, wanted
        every = [each for phase in plan.phases for each in phase.prefetches()]
        self._numbers = {id(each): number for number, each in enumerate(every)}
        steps = [pair for phase in plan.phases for pair in pairwise(phase.steps)]
        self._within = {
            id(each): gather.table
            for each, gather in steps
            if isinstance(each, Prefetch) and isinstance(gather, Gather)
        }  # the table of the gather right behind it
        self._behind = {id(each): g for p in plan.phases for each, g in p.reads_for()}
        self.noted: tuple[Prefetch, npt.NDArray[Any]] | None = None
        self.there: dict[int, list[Piece]] = {}

    def reads_for(self, prefetch: Prefetch) -> Gather:
        """The gather that may need what it reads."""
        return self._behind[id(prefetch)]

    def most(self, prefetch: Prefetch, point: Point) -> int:
        """How many records it reads; 0: it is as if the step were not there.

        So it is where the gather right behind it has its whole table in memory: the runner may make
        ordinary dispatches of that, within which nothing is read.
        """
        its = prefetch.table, self._within[id(prefetch)]
        whole = any(point.pinned[each] == self._tables[each].count for each in its)
        wanted = self._wanted and point.ahead and not whole
        return point.ahead[self._numbers[id(prefetch)]] if wanted else 0

    def begin_run(self) -> None:
        """What another phase noted is of no use."""
        self.noted = None

    def forget(self, table: int | None = None) -> None:
        """What was to be read of this table, or of all."""
        for each in range(len(self._tables)) if table is None else (table,):
            self._machine.forget_ahead(each)
            self.there.pop(each, None)
