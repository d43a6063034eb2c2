"""How long the gathers of a phase take at a point: of one token, and of a prompt's chunk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from toolkit.compiler.budget.costs import byte_of, looks_of, of_gathers
from toolkit.compiler.cost.phase_cost import PhaseCost
from toolkit.compiler.cost.work import Symbols
from toolkit.offload.flash_model import Flash
from toolkit.offload.prediction.demand import Demand
from toolkit.offload.prediction.tile_time import Tile, stalled
from toolkit.offload.prediction.token_time import Costs, gathering
from toolkit.plan.schema import Gather, Phase, Point
from toolkit.plan.table_figures import launch_bytes


@dataclass
class GatherTime:
    """Of a plan on a device and a flash.

    demands  by table: of tokens that are fed one by one
    every    by table: where all records are needed, as a prompt needs them
    """

    cost: PhaseCost
    flash: Flash
    demands: Sequence[Demand]
    every: Sequence[Demand]
    _bytes: dict[tuple[object, ...], float] = field(default_factory=dict)

    def seconds(self, phase: Phase, symbols: Symbols, point: Point, beside: float = 0.0) -> float:
        """Of all gathers of a phase; `beside`: of its other dispatches, while reads go on ahead."""
        gathers = phase.gathers()
        chosen = [each for each in gathers if each.select.by != "all"]
        waiting = sum(self._one(phase, each, symbols, point) for each in chosen)
        tiles = self.tiles(phase, symbols, point, beside)
        computing = sum(tile.computing for tile in tiles)
        waited = stalled(tiles, self.places(phase, point))
        return waiting + computing + waited - self._gained(phase, symbols, point)

    def tiles(self, phase: Phase, symbols: Symbols, point: Point, beside: float) -> list[Tile]:
        """Of the gathers that need all of their records, in order; `beside` as above."""
        whole = [each for each in phase.gathers() if each.select.by == "all"]
        between = beside / max(1, len(whole))
        return [t for each in whole for t in self._tiles(phase, each, symbols, point, between)]

    def places(self, phase: Phase, point: Point) -> int:
        """How many of a phase's launches over records have room in staging, which is of so many of
        the greatest."""
        plan = self.cost.plan
        largest = max(launch_bytes(plan, g, point) for p in plan.phases for g in p.gathers())
        whole = (each for each in phase.gathers() if each.select.by == "all")
        own = max((launch_bytes(plan, each, point) for each in whole), default=largest)
        return point.tiles * largest // own

    def computed(self, phase: Phase) -> float:
        """Bytes of records that a phase's gathers need."""
        needs = ((self._demand(each), each.table) for each in phase.gathers())
        return sum(d.needed * self.cost.plan.tables[table].bytes for d, table in needs)

    def _gained(self, phase: Phase, symbols: Symbols, point: Point) -> float:
        """By what is read of networks before they ask."""
        if not any(point.ahead):
            return 0.0
        gathers, total = {each.table: each for each in phase.gathers()}, 0.0
        flash = self.flash.with_threads(point.threads)
        for look in looks_of(self.cost, phase, symbols, self.computed(phase)):
            if records := point.ahead[look.numbers[0]]:
                first, behind = (
                    self._demand(gathers[n]).reads(point.slots[n], point)
                    for n in (look.during, look.table)
                )
                taken = self._one(phase, gathers[look.during], symbols, point)
                idle = look.between + max(0.0, taken - first.seconds(flash))
                table = self.cost.plan.tables[look.table]
                total += look.gain(records, behind, table, flash, idle)
        return total

    def _tiles(
        self, phase: Phase, gather: Gather, symbols: Symbols, point: Point, between: float
    ) -> list[Tile]:
        """Of a gather that needs all, `between` seconds behind the one before: what is resident
        first, and among what is read the rest of it."""
        demand, tile = self._demand(gather), gather.tile or point.cluster
        reads = demand.reads(point.slots[gather.table], replace(point, cluster=tile))
        costs, table = self._costs(phase, gather, symbols), demand.table
        launches = -(-table.count // tile) * costs.launch
        if costs.whole is not None and point.slots[gather.table] == table.count:
            launches = costs.whole
        computing = launches + costs.byte * table.count * table.bytes
        read_s = reads.seconds(self.flash.with_threads(point.threads))
        copied = costs.copy * reads.misses * table.bytes
        reading = max(read_s, (read_s + copied) / point.threads)
        count = 1 + math.ceil(reads.misses / tile)
        part, of_reads = computing / count, reading / max(1, count - 1)
        return [Tile(0.0, part, between), *[Tile(of_reads, part)] * (count - 1)]

    def _one(self, phase: Phase, gather: Gather, symbols: Symbols, point: Point) -> float:
        demand, slots = self._demand(gather), point.slots[gather.table]
        cluster = gather.tile or point.cluster
        reads = demand.reads(slots, replace(point, cluster=cluster))
        return gathering(
            self._costs(phase, gather, symbols),
            reads.seconds(self.flash.with_threads(point.threads)),
            reads.misses,
            demand.needed,
            demand.table.bytes,
            cluster,
            point.threads,
            1,
            slots == demand.table.count,
            demand.looked_at,
        )

    def _demand(self, gather: Gather) -> Demand:
        return (self.every if gather.select.by == "all" else self.demands)[gather.table]

    def _costs(self, phase: Phase, gather: Gather, symbols: Symbols) -> Costs:
        usual = of_gathers(self.cost.plan, self.cost.rates, phase, gather)
        count = len(gather.dispatches)
        if gather.select.source is None:  # what all of a table needs is known before
            usual = replace(usual, wait=0.0, select=0.0)
        byte = self._byte(gather, symbols)
        return replace(usual, byte=byte, launch=count * usual.launch)

    def _byte(self, gather: Gather, symbols: Symbols) -> float:
        """Layers have the same kernels: each is looked at once."""
        programs = tuple(v.program for each in gather.dispatches for v in each.variants)
        table = self.cost.plan.tables[gather.table]
        key = (programs, gather.tile, table.count, table.bytes, *symbols.items())
        if key not in self._bytes:
            self._bytes[key] = byte_of(self.cost, gather, symbols)
        return self._bytes[key]
