"""Offsets of tensors in one arena: offline dynamic storage allocation.

The problem is NP-hard (Garey & Johnson 1979, SR2). Greedy comes first, in three orders, each tensor
into the lowest gap (Pisarchyk & Lee 2020, "Efficient Memory Management for Deep Neural Net
Inference", section 5). Where that stays above the lower bound, guided ejection search packs the
same tensors under lower and lower ceilings (Nagata & Bräysy 2009, "A Powerful Route Minimization
Heuristic for the Vehicle Routing Problem with Time Windows": a tensor that finds no room ejects
those that were easiest to place so far). Its limit is work, not time, so that the same tensors
always get the same offsets.
"""

import random
from collections.abc import Iterator, Sequence

import numpy as np

from toolkit.compiler.memory.ejection import Array, Packing
from toolkit.plan.arena import Lifetime, lower_bound

WORK = 20_000_000  # rivals visited (see `ejection.LOOK`): one or two seconds
SLICE = 16  # each ceiling closes 1/16 of the gap to the bound


def place(items: Sequence[Lifetime], align: int) -> list[int]:
    """Byte offset of every item, a multiple of align; no two that are alive together overlap."""
    packing, bound = Packing(items, align), lower_bound(items, align) // align
    for order in _orders(items):
        if packing.height > bound and packing.work < WORK:
            packing.fill(order)
    _tighten(packing, bound)
    return [int(offset) * align for offset in packing.best]


def _orders(items: Sequence[Lifetime]) -> Iterator[list[int]]:
    """Orders for greedy placement: by size, by size x duration, by first use."""
    every = range(len(items))
    yield sorted(every, key=lambda i: -items[i].nbytes)
    yield sorted(every, key=lambda i: -items[i].nbytes * (items[i].last - items[i].first + 1))
    yield sorted(every, key=lambda i: (items[i].first, -items[i].nbytes))


def _tighten(packing: Packing, bound: int) -> None:
    """Lower the ceiling until it meets the bound or WORK is used up."""
    penalty, lots = np.ones(len(packing.size), np.int64), random.Random(0)
    packing.offset = packing.best.copy()
    while packing.height > bound:
        before = packing.offset.copy()
        ceiling = packing.height + (bound - packing.height) // SLICE
        if not _squeeze(packing, ceiling, penalty, lots):
            break
        moved = np.flatnonzero(packing.offset != before)  # those above them may have room to fall
        packing.settle(packing.by(packing.offset, packing.near(moved)))


def _squeeze(packing: Packing, ceiling: int, penalty: Array, lots: random.Random) -> bool:
    """Bring all items under the ceiling, the largest first; whether that succeeded."""
    over = np.flatnonzero(packing.offset + packing.size > ceiling)
    packing.offset[over] = -packing.roof
    waiting = packing.by(packing.size, over)
    while waiting and packing.work < WORK:
        i = waiting.pop()
        if not packing.fit(i, ceiling):
            penalty[i] += 1
            waiting += packing.force(i, ceiling, penalty, lots.random())
    return not waiting
