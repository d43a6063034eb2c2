"""Accesses that a run has written down (`--trace-access`): toolkit/offload/access_trace.py."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from opencl_kernels.formats import Array
from toolkit.errors import PocketError
from toolkit.offload.access_trace import AGAIN, BEFORE, Line, access_lines, scores_of
from toolkit.offload.policies import Ints
from toolkit.offload.selection import at_point, select
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Gather, Phase, Plan
from toolkit.simulation.accesses import Access, gathers_of


class Traced:
    """Accesses of a trace file. Changes of the memory while it was written are left out.

    Where the run began with a warm set, lines in front tell each table's records: `warm` has them,
    the most frequent first.

    Raises PocketError where the file is no trace, or one of another plan.
    """

    knows_needed = False

    def __init__(self, path: Path, plan: Plan, orders: Sequence[Ints | None]) -> None:
        """orders  of each table the index of every record; None: its own number"""
        self._path, self._plan, self._orders = path, plan, orders
        self._scores, self._at = scores_of(path), 0
        self._gathers, self._decode = gathers_of(plan), token_phase(plan)
        self._accesses: list[list[Access]] = [[] for _ in plan.tables]
        self.warm: dict[int, Ints] = {}
        self._early = dict[tuple[int, int], Array]()  # by step and table, what a prefetch goes by
        steps = set[int]()
        for line in access_lines(path):
            if "p" in line:
                self._prefetch(line)
                continue
            if line["t"] == BEFORE:
                self._open(line)
                continue
            phase = self._add(line)
            if phase is self._decode:
                steps.add(line["t"])
        self.tokens = len(steps)
        if self._at != len(self._scores):
            raise self._foreign(f"{len(self._scores) - self._at} of its scores are left over")

    def by_table(self) -> Iterator[tuple[int, Sequence[Access]]]:
        """As Accesses has it."""
        for table, accesses in enumerate(self._accesses):
            if accesses:
                yield table, accesses

    def _open(self, line: Line) -> None:
        tables = self._plan.tables
        if not 0 <= line["g"] < len(tables):
            raise self._foreign(f"the plan has {len(tables)} tables")
        self.warm[line["g"]] = np.unique(self._records(line["g"], line))

    def _records(self, number: int, line: Line) -> Ints:
        """Those that a line names, all of which its table has."""
        table = self._plan.tables[number]
        if not all(0 <= record < table.count for record in line["sel"]):  # of any size
            raise self._foreign(f"{table.name} has {table.count} records")
        return np.array(line["sel"], np.int64)

    def _add(self, line: Line) -> Phase:
        if not 0 <= line["g"] < len(self._gathers):
            raise self._foreign(f"the plan has {len(self._gathers)} gathers")
        phase, gather = self._gathers[line["g"]]
        scores = self._taken(gather, line)
        self._check(gather, line, scores)
        early = self._early.pop((line["t"], gather.table), None)
        access = Access(line["t"], line["g"], gather, scores, None, phase is self._decode, early)
        self._accesses[gather.table].append(access)
        return phase

    def _taken(self, gather: Gather, line: Line) -> Array | None:
        """The next scores of the file; of what selects by ids, these."""
        count, order = self._plan.tables[gather.table].count, self._orders[gather.table]
        if gather.select.by == "ids":
            records = self._records(gather.table, line)
            return (records if order is None else order[records]).astype(np.int32)
        if gather.select.by == "all":
            return None
        return self._next(count)

    def _prefetch(self, line: Line) -> None:
        number, tables = line["p"], self._plan.tables
        if not 0 <= number < len(tables):
            raise self._foreign(f"the plan has {len(tables)} tables")
        self._early[line["t"], number] = self._next(tables[number].count)

    def _next(self, count: int) -> Array:
        found = self._scores[self._at : self._at + count]
        self._at += count
        if len(found) < count:
            raise self._foreign("it has fewer scores than its gathers select by")
        return found

    def _check(self, gather: Gather, line: Line, scores: Array | None) -> None:
        """That the plan's rule selects what the run selected, where no cache has a say in it."""
        rule = at_point(gather.select, self._plan.points[-1].select[line["g"]])
        if rule.by == "top" and rule.gamma < 1:
            return
        count, order = self._plan.tables[gather.table].count, self._orders[gather.table]
        chosen = select(rule, scores, count, np.ones(count, bool))
        records = chosen if order is None else np.sort(np.argsort(order)[chosen])
        if records.tolist() != line["sel"]:
            raise self._foreign(f"at its step {line['t']} the plan selects other records")

    def _foreign(self, because: str) -> PocketError:
        return PocketError(f"{self._path} is no trace of this plan", because, AGAIN)
