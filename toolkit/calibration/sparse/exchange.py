"""Densities by layer: what one layer gives up another gets, as long as the loss of all together
falls.

Losses of layers that are pruned alone don't add up: each step is judged with all others in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

STEP = 1 / 16  # of density, that goes from one layer to another
PAIRS = 4  # that are tried together
LEAST, MOST = 0.1, 1.0
Losses = Callable[[Sequence[tuple[float, ...]]], list[float]]


@dataclass(frozen=True)
class Exchanged:
    """Densities by layer, and how many were tried for them."""

    densities: tuple[float, ...]
    tries: int


def exchange(density: float, layers: int, losses: Losses) -> Exchanged:
    """From the same density for all; ends where nothing is gained, or after 2 * layers tries.

    losses  of all layers together, of some lists of densities
    """
    best, tries = (density,) * layers, 0
    [lowest] = losses([best])
    while tries < 2 * layers:
        candidates = _pairs(best, lowest, losses)
        if not candidates:
            break
        tries += len(candidates)
        found = losses(candidates)
        if min(found) >= lowest:
            break
        lowest = min(found)
        best = candidates[found.index(lowest)]
    return Exchanged(best, tries)


def _pairs(best: tuple[float, ...], lowest: float, losses: Losses) -> list[tuple[float, ...]]:
    """The exchanges that promise most, by what a step of each layer alone changes."""
    layers = range(len(best))
    alone = [_moved(best, {i: sign * STEP}) for sign in (1, -1) for i in layers]
    legal = [each for each in alone if all(LEAST <= d <= MOST for d in each)]
    found = dict(zip(legal, losses(legal), strict=True))
    changes = [found.get(each, float("inf")) - lowest for each in alone]
    more, less = changes[: len(best)], changes[len(best) :]
    pairs = sorted((more[i] + less[j], i, j) for i, j in product(layers, layers) if i != j)
    return [_moved(best, {i: STEP, j: -STEP}) for sum_, i, j in pairs[:PAIRS] if sum_ < 0]


def _moved(densities: tuple[float, ...], by: dict[int, float]) -> tuple[float, ...]:
    return tuple(round(d + by.get(i, 0.0), 6) for i, d in enumerate(densities))
