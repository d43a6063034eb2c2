"""The step gather on pyopencl: toolkit/offload decides, this reads, copies and launches.

It goes step by step: a copy waits for what is computed, and ends before the next begins. So there
is one ticket and one place for streamed records, and no event. The runner (android_runner/gather/)
reads while the device works, and launches the same in the same order.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from toolkit.errors import PocketError
from toolkit.executors.opencl.gather.filling import Filling
from toolkit.executors.opencl.gather.first_parts import FirstParts, Look
from toolkit.executors.opencl.gather.flash_files import FlashFiles
from toolkit.executors.opencl.gather.gather_memory import GatherMemory
from toolkit.executors.opencl.gather.point_in_use import PointInUse
from toolkit.executors.opencl.gather.read_ahead import ReadAhead
from toolkit.executors.opencl.gather.record_reads import RecordReads
from toolkit.executors.opencl.gather.second_engine import (
    DEVICE,
    Aside,
    engine_for,
    is_computable,
    takes,
)
from toolkit.executors.opencl.gather.warm_set import WarmSet
from toolkit.offload.access_trace import AccessTrace
from toolkit.offload.counts import Counts
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine, Outcome
from toolkit.offload.orders import importance_of, order_of
from toolkit.offload.points import (
    choose_point,
)
from toolkit.offload.record_cache import NONE
from toolkit.offload.selection import at_point
from toolkit.plan.load import plan_digest
from toolkit.plan.schema import Gather, Plan, Point, Prefetch, Ref, Select
from toolkit.plan.table_figures import first_bytes, slot_bytes

REAL = Flash("the plan's own")  # no cost is imagined
CLUSTER, OFF = OVERLAPS = ("cluster", "off")  # no `matrix`: there is one place for what is read
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Launched:
    """What a launch of a gather's dispatches takes: the slots, and how many records of them.

    aside  what is to be computed beside the device, in place of a launch
    """

    slots: cl.Buffer
    records: int
    first: bool = False  # of these the first parts alone are there
    aside: Aside | None = None


class Gatherer:
    """The tables of a plan, as one of its points runs them.

    path    the plan's folder
    memory  bytes that the point takes at most, or AUTO; None: the point that takes most
    trace   a file for a line on each gather, and one of scores beside it
    warm    a folder with what was in memory when plans' runs ended; None: every start is cold
    overlap  cluster: a launch waits for its own reads; off: and a read for launches, none is early
    engine  that computes records (gather/second_engine.py); None: as the point says
    """

    def __init__(
        self,
        path: Path,
        plan: Plan,
        queue: cl.CommandQueue,
        memory: int | str | None = None,
        trace: Path | None = None,
        warm: Path | None = None,
        overlap: str | None = None,
        engine: str | None = None,
    ) -> None:
        self._overlap, self._wanted = overlap or CLUSTER, engine
        self._plan, self._used = plan, PointInUse(plan, memory)
        self._engine = engine_for(plan, engine, self.point.engine)
        self._aside = 0  # records that the device did not compute
        orders = [order_of(path, plan, table) for table in plan.tables]
        self._queue = queue
        sizes = [importance_of(path, plan, table) for table in plan.tables]
        self._warm = WarmSet(warm, plan_digest(path) if warm else "", plan.tables)
        kept = self._warm.read()
        self._machine = Machine(plan.tables, self.point, REAL, orders, sizes, kept)
        gathers = [gather for phase in plan.phases for gather in phase.gathers()]
        self._numbers = {id(gather): number for number, gather in enumerate(gathers)}
        self._early = ReadAhead(plan, self._machine, self._overlap != OFF)
        self._warm_records = 0
        self._step = -1  # of the run
        with ExitStack() as self._closing:
            files = FlashFiles(path, plan)
            self._closing.callback(files.close)
            self._trace = AccessTrace(trace) if trace else None
            if self._trace:
                self._closing.callback(self._trace.close)
            self._memory = GatherMemory(plan, self.point, queue)
            self._closing.callback(self._memory.release)
            self._reads = RecordReads(plan.tables, files, self._memory, self._machine)
            parts = (plan.tables, self._machine, self._memory, self._reads)
            self._first = FirstParts(*parts)
            self._filling = Filling(plan.tables, self._reads, self._early, self._first)
            for number, opened in enumerate(self._machine.opening):
                self._warm_records += len(opened.admitted) - len(opened.moves.admitted)
                if self._trace and kept:
                    self._trace.open(number, plan.tables[number], opened)
            self._reads.pin(self._machine.opening, ahead=True)
            self._closing = self._closing.pop_all()  # all of it is there: `close` has the rest

    @property
    def point(self) -> Point:
        """How memory is spent."""
        return self._used.point

    def memory(self, table: int) -> Mapping[Ref, cl.Buffer]:
        """What the words of a gather's dispatches mean; `slots` until a launch says otherwise."""
        return {("ticket",): self._memory.ticket, ("slots",): self._memory.slots[table]}

    def use(self, memory: int) -> None:
        """Another budget, in bytes, from the next run on.

        Raises PocketError, and changes nothing, where the plan does not run in so little.
        """
        self._change(memory, self.point.flash)
        self._used.use(memory)

    def govern(self, tokens: int) -> None:
        """Between runs, after so many tokens: it may go on at another point."""
        if choice := self._used.decide(tokens):
            self._change(choice.budget, choice.flash)

    def begin_run(self) -> None:
        """Another phase runs: uses of records are counted in runs."""
        self._step += 1
        self._early.begin_run()

    def numbers(self, gather: Gather, there: int) -> int:
        """How many it selects by: one for each index of the table, or ids; of these at most k.

        there  that its source has in this run
        """
        rule = self._rule(gather)
        return min(rule.k, there) if rule.by == "ids" else self._plan.tables[gather.table].count

    def gather(
        self, gather: Gather, scores: npt.NDArray[Any] | None, look: Look
    ) -> Iterator[Launched]:
        """Each launch of the gather's dispatches, in order, when its records and ticket are there.

        scores  that it selects by: as many as `numbers` says
        look    reads so many numbers, when what has been launched has ended
        """
        rule, table = self._rule(gather), gather.table
        glimpse, left = None, NONE
        if gather.first is not None:
            size = first_bytes(gather, self._plan.tables[table])
            glimpse = self._machine.glimpse(table, rule, scores, size)
            if len(glimpse.records):
                self._first.stage(table, glimpse)
                yield Launched(self._memory.staging, len(glimpse.records), first=True)
                left = self._first.left(gather.first, table, glimpse, look)
        told = (rule, scores, self._step, gather.tile, glimpse, left)
        done = self._machine.gather(table, *told)
        self._reads.counts += Counts(selected=len(done.selected), hits=len(done.hits))
        try:
            if self._trace:
                self._trace.write(self._step, self._numbers[id(gather)], done, scores)
            self._read_ahead()
            helped = is_computable(self._plan, gather)
            yield from self._launches(table, done, self._engine if helped else DEVICE)
            self._early.there.pop(table, None)
        except BaseException:  # records that have not come are in no slot
            self._machine.caches[table].lose(done.admitted[:, 0])
            self._early.forget()
            raise

    def reads_ahead(self, prefetch: Prefetch) -> int:
        """How many records at most; 0: it is as if the step were not there."""
        return self._early.most(prefetch, self.point)

    def prefetch(self, prefetch: Prefetch, scores: npt.NDArray[Any]) -> None:
        """What the gather behind it begins to read for the one after that."""
        self._early.noted = prefetch, scores

    def counts(self) -> dict[str, Any]:
        """What it runs with, and what it has done so far: the same keys as the runner's."""
        held = slot_bytes(self._plan, self.point.slots)
        facts = {
            "memory": self.point.memory,
            "record_bytes": held,
            "direct": False,
            "overlap": self._overlap,
            "engine": {
                "name": self._engine,
                "threads": 0,
                "records": self._aside,
                "bytes": 0,
            },
        }
        used = {"points_used": self._used.usage.list(), "warm_records": self._warm_records}
        return {**facts, **vars(self._reads.counts), "late_share": 0.0, **used}

    def close(self) -> None:
        """Keep what is in memory for the next start, if anything ran; then give all of it back."""
        if self._step >= 0 and self.point.policy != "static":
            self._warm.write([cache.by_worth() for cache in self._machine.caches])
        self._closing.close()

    def _change(self, memory: int | None, flash: float) -> None:
        """To the point for a budget and a flash of this speed against the profile's."""
        point = choose_point(self._plan, memory, flash)
        if point == self.point:
            return
        engine = engine_for(self._plan, self._wanted, point.engine)  # may refuse: so first of all
        self._queue.finish()
        self._early.forget()
        before = [cache.slot_of.copy() for cache in self._machine.caches]
        changes = self._machine.change(point)
        self._used.point = point
        self._engine = engine
        for table, change in enumerate(changes):
            self._memory.resize(table, point.slots[table], change.moves, before[table])
        self._memory.restage(point)
        if self._trace:
            self._trace.change(self._step, memory, point, changes)
        self._reads.pin(changes)

    def _read_ahead(self) -> None:
        if self._early.noted is None:
            return
        prefetch, scores = self._early.noted
        self._early.noted, table = None, prefetch.table
        rule, most = self._rule(self._early.reads_for(prefetch)), self.reads_ahead(prefetch)
        found = self._machine.prefetch(table, rule, scores, self._step, most)
        if self._trace:
            self._trace.prefetch(self._step, table, found, scores)
        try:
            pieces = self._reads.read(table, found.runs.spans)
            self._early.there[table] = sorted(pieces, key=lambda each: each.offset)
        except PocketError:  # nobody may need it; whoever does reads it, and tells why it can't be
            self._early.forget(table)

    def _launches(self, table: int, done: Outcome, engine: str) -> Iterator[Launched]:
        begins = True
        for cluster in done.clusters:
            if self._overlap == OFF:
                self._queue.finish()
            content = self._reads.read(table, done.runs[slice(*cluster.runs)])
            for launch in cluster.launches:
                slots = self._memory.staging if launch.staged else self._memory.slots[table]
                if not launch.resident:
                    self._filling.fill(slots, table, launch, content, done)
                indices = self._machine.indices(table, launch.records)
                if takes(engine, launch):
                    self._aside += len(launch.records)
                    aside = Aside(launch.slots, indices, begins)
                    yield Launched(slots, 0, aside=aside)
                else:
                    self._memory.write_ticket(launch.slots, indices, begins)
                    yield Launched(slots, len(launch.records))
                begins = False

    def _rule(self, gather: Gather) -> Select:
        return at_point(gather.select, self.point.select[self._numbers[id(gather)]])
