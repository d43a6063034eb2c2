"""Runs a program in waves: of all blocks that items are in, the first one goes on.

So items of a wave that part meet again behind what they did apart, and what a wave issues while
only some of its items run is counted for all of them: they wait. Waves of a work-group take turns
where one is asked for: a barrier that is missing between them shows in what they compute.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from opencl_kernels.formats import Array
from toolkit.bench.counting.items import Chosen, Items
from toolkit.bench.counting.memory import GLOBAL, LOCAL, PRIVATE
from toolkit.bench.counting.program import Moves, Part, Program

WAITS, DONE = 1 << 20, 1 << 40  # added to a block's number: behind it a barrier; no block


class Turns(Enum):
    """Which wave of a work-group goes on, to its next barrier or the end, before any other does."""

    NONE = 0  # all at once
    FIRST = 1
    LAST = -1


@dataclass
class Issued:
    """What waves issued, summed over them; times a wave's width it is of items."""

    waves: int = 0
    instructions: int = 0
    multiply_adds: int = 0
    barriers: int = 0
    loads: dict[int, int] = field(
        default_factory=lambda: dict.fromkeys((PRIVATE, GLOBAL, LOCAL), 0)
    )

    def add(self, part: Part, waves: int) -> None:
        """A block, by so many waves."""
        self.instructions += waves * part.cost.instructions
        self.multiply_adds += waves * part.cost.multiply_adds
        self.barriers += waves * part.waits
        for space, count in (part.cost.loads or {}).items():
            self.loads[space] += waves * count


def run(
    program: Program,
    items: Items,
    arguments: Mapping[str, Array],
    issued: Issued,
    turns: Turns = Turns.NONE,
) -> None:
    """Run all work-groups of `items` to the end; raises RuntimeError where a barrier is missed."""
    items.registers = dict(arguments)
    waves = int(items.wave.max()) + 1
    issued.waves += waves
    at = np.zeros(items.count, np.int64)
    while (now := int(at.min())) < DONE:
        if now >= WAITS:
            _release(at, items)
            continue
        here = at == now
        if turns is not Turns.NONE:
            at_turn = _at_turn(at, items, turns)
            now = int(at[at_turn].min())
            here = at_turn & (at == now)
        chosen = None if here.all() else np.flatnonzero(here)
        part = program.parts[now]
        issued.add(part, waves if chosen is None else len(np.unique(items.wave[chosen])))
        with np.errstate(all="ignore"):  # what is infinite on a GPU is so here
            for step in part.steps:
                step(items, chosen)
        for some, moves, target in _jumps(part, items, chosen):
            _take(moves, items, some)
            at[slice(None) if some is None else some] = target


def _at_turn(at: Array, items: Items, turns: Turns) -> Array:
    """Whether an item belongs to the wave of its group that goes on."""
    able, rank = at < WAITS, turns.value * items.wave_of_group
    first = np.full(int(items.group.max()) + 1, DONE)
    np.minimum.at(first, items.group[able], rank[able])
    return np.asarray(able & (rank == first[items.group]))


def _release(at: Array, items: Items) -> None:
    """No item can go on but through its barrier: all of its group must stand there."""
    first = np.full(int(items.group.max()) + 1, DONE)
    np.minimum.at(first, items.group, at)
    if (at != first[items.group]).any():
        raise RuntimeError("some items of a work-group do not reach a barrier")
    at[at < DONE] -= WAITS


def _jumps(part: Part, items: Items, chosen: Chosen) -> Iterator[tuple[Chosen, Moves, int]]:
    """Who goes where; to one place, everyone."""
    if part.last.op == "ret":
        yield chosen, [], DONE
        return
    for label, some in _ways(part, items, chosen):
        place, moves = part.following[label]
        yield some, moves, place + WAITS * part.waits


def _ways(part: Part, items: Items, chosen: Chosen) -> Iterator[tuple[str, Chosen]]:
    values, labels = part.last.more
    if not part.last.operands:
        yield labels[0], chosen
        return
    value = items.read(part.last.operands[0], chosen)
    target = np.full(len(value), len(labels) - 1)
    for i, case in enumerate(values):
        target[value == case] = i
    for i in np.unique(target):
        one_way = (target == i).all()
        yield labels[i], chosen if one_way else items.numbers(chosen)[target == i]


def _take(moves: Moves, items: Items, some: Chosen) -> None:
    """All phis of a block at once: one may read another."""
    values = [items.read(value, some) for _, value in moves]
    for (name, _), value in zip(moves, values, strict=True):
        items.write(name, value, some)
