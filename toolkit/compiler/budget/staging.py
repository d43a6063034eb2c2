"""How many tiles of a prompt's records have a place at once: as few as hide its reads.

Two are enough where a layer's reads are spread evenly among what it computes. Where most of it is
computed between networks, flash would stand idle then, with both places full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from toolkit.compiler.budget.costs import is_known, usual_cost_of
from toolkit.compiler.budget.gather_time import GatherTime
from toolkit.compiler.budget.point import reading_bytes
from toolkit.devices.match import Profile
from toolkit.offload.flash_model import Flash
from toolkit.offload.prediction.demand import Demand
from toolkit.offload.prediction.tile_time import Tile, hidden
from toolkit.plan.phase_choice import PhaseChoice
from toolkit.plan.schema import LEAST_TILES, Phase, Plan, Point
from toolkit.plan.table_figures import slot_bytes

TRIED = (LEAST_TILES, 3, 4, 6, 8)
STEADY = 4  # where there is room: neither reads nor launches take as long each time
ENOUGH = 0.95  # of what as many places as are tried hide: more would cost slots
FASTER = 3  # than usual a device may be whose rates nobody knows: then less hides reads
PART = 8  # of the memory of slots, at most one in so many becomes places


@dataclass(frozen=True)
class Prompt:
    """A chunk of a plan's prompts: the phase that takes it, its symbols, and how long gathers take.

    beside  seconds of what it computes between networks
    faster  than predicted the device may be
    """

    plan: Plan
    times: GatherTime
    phase: Phase
    symbols: dict[str, int]
    beside: float
    faster: float = 1.0

    @classmethod
    def of(cls, plan: Plan, facts: Profile, flash: Flash, every: Sequence[Demand]) -> Prompt | None:
        """None where no prompt needs all of a table, tile by tile; `every` as of GatherTime."""
        chunk = int(plan.model.get("prefill_chunk", 0))
        found = PhaseChoice(plan).find("ids", {"seq": chunk, "past": 0, "rows": 1})
        if found is None or not any(each.tile for each in found.gathers()):
            return None
        cost, faster = usual_cost_of(plan, facts), 1 if is_known(facts) else FASTER
        phase = next(each for each in cost.plan.phases if each.name == found.name)
        symbols = {"seq": chunk, "past": 0, "rows": 1, "text_length": chunk}
        times = GatherTime(cost, flash, every, every)
        return cls(plan, times, phase, symbols, cost.step(phase, symbols).whole, faster)

    def by(self, flash: Flash) -> Prompt:
        """The same, from another flash."""
        return replace(self, times=replace(self.times, flash=flash))

    def staged(self, budget: int, point: Callable[[int], Point]) -> Point:
        """The point within a budget; `point`: with two places, within so many bytes."""
        usual = point(budget)
        wider = replace(usual, tiles=self.tiles(usual))
        more = reading_bytes(self.plan, wider) - reading_bytes(self.plan, usual)
        if not more:
            return usual
        found = point(budget - more)
        return replace(found, tiles=wider.tiles, memory=found.memory + more)

    def tiles(self, point: Point) -> int:
        """The fewest that hide what places can, `STEADY` at least, and leave slots nearly all."""
        usual = self.times.tiles(self.phase, self.symbols, point, self.beside)
        tiles = [
            Tile(each.reading, each.computing / self.faster, each.before / self.faster)
            for each in usual
        ]
        room = slot_bytes(self.plan, point.slots) // PART
        least = reading_bytes(self.plan, point)
        shares = {}
        for count in TRIED:
            wider = replace(point, tiles=count)
            if reading_bytes(self.plan, wider) - least <= room:
                shares[count] = hidden(tiles, self.times.places(self.phase, wider))
        enough = ENOUGH * max(shares.values())
        fewest = min(count for count, share in shares.items() if share >= enough)
        steady = max(count for count in shares if count <= STEADY)
        return max(fewest, steady) if any(tile.reading for tile in tiles) else fewest
