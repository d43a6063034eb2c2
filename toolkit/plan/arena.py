"""What an arena holds: lifetimes of tensors, the bytes they need, and whether offsets are sound."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from toolkit.plan.schema import Phase, Prefetch, refs_of


@dataclass(frozen=True)
class Lifetime:
    """Bytes that are needed from step `first` to step `last`, both included."""

    nbytes: int
    first: int
    last: int


def round_up(value: int, align: int) -> int:
    """The next multiple of align."""
    return -(-value // align) * align


def peak(items: Sequence[Lifetime], offsets: Sequence[int], align: int) -> int:
    """Bytes of the arena that these offsets need."""
    ends = (o + round_up(i.nbytes, align) for i, o in zip(items, offsets, strict=True))
    return max(ends, default=0)


def overlap(items: Sequence[Lifetime], offsets: Sequence[int]) -> tuple[int, int] | None:
    """Indices of two items, the lower one first, that share bytes while both are alive.

    Step by step, what is alive is kept in order of offset: only neighbours there can overlap.
    """
    events = [(item.first, False, i) for i, item in enumerate(items)]
    events += [(item.last, True, i) for i, item in enumerate(items)]
    alive: list[tuple[int, int]] = []
    for _, ends, i in sorted(events):
        at = bisect_left(alive, (offsets[i], i))
        if ends:
            del alive[at]
            continue
        alive.insert(at, (offsets[i], i))
        for (start, below), (limit, above) in pairwise(alive[max(0, at - 1) : at + 2]):
            if start + items[below].nbytes > limit:
                return below, above
    return None


def lower_bound(items: Sequence[Lifetime], align: int) -> int:
    """The most bytes alive at any one step: no placement needs fewer, the best may need more."""
    return sum(round_up(items[i].nbytes, align) for i in alive_at_busiest_step(items, align))


def alive_at_busiest_step(items: Sequence[Lifetime], align: int) -> list[int]:
    """Indices of the items alive at the step that needs the most bytes."""
    change: dict[int, int] = {}
    for item in items:
        change[item.first] = change.get(item.first, 0) + round_up(item.nbytes, align)
        change[item.last + 1] = change.get(item.last + 1, 0) - round_up(item.nbytes, align)
    alive, most, busiest = 0, 0, -1
    for step in sorted(change):
        alive += change[step]
        if alive > most:
            most, busiest = alive, step
    return [i for i, item in enumerate(items) if item.first <= busiest <= item.last]


def lifetimes(phase: Phase) -> list[Lifetime]:
    """Of every scratch: from the first step that touches it to the last (untouched: step 0).

    A prefetch may run within the gather behind it.
    """
    touched: dict[int, list[int]] = {}
    for number, step in enumerate(phase.steps):
        for ref in refs_of(step):
            if len(ref) == 2 and ref[0] == "scratch":
                ends = number + isinstance(step, Prefetch)
                touched.setdefault(ref[1], []).extend((number, ends))
    if len({step.queue for step in phase.steps}) > 1:  # queues overtake each other: all at once
        touched = {i: [0, len(phase.steps) - 1] for i in touched}
    spans = [touched.get(i, [0]) for i in range(len(phase.scratch))]
    return [
        Lifetime(s.bytes, span[0], span[-1]) for s, span in zip(phase.scratch, spans, strict=True)
    ]
