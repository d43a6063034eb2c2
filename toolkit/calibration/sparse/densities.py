"""How a density of a whole feed-forward network is shared out among its products.

A density is a share of the bytes that a token's products read, and of their operations.
"""

from __future__ import annotations

import math

from toolkit.errors import PocketError

SLOPE, SHIFT = 0.98499307, 0.29976478  # fitted by DIP's authors to gated units


def split(density: float) -> tuple[float, float]:
    """DIP's share of inputs (of gate and up alike), and of what `down` reads: a third of them each.

    rho_in = expit(SLOPE * logit(rho) + SHIFT), rho_down = 3 * (rho - 2/3 * rho_in): arXiv
    2412.01380, and the code beside it.
    """
    if density in (0.0, 1.0):
        return density, density
    scaled = SLOPE * math.log(density / (1 - density)) + SHIFT
    inputs = 1 / (1 + math.exp(-scaled))
    return inputs, max(0.0, 3 * (density - 2 / 3 * inputs))


def kept(density: float, count: int) -> int:
    """So many of `count`, rounded down as the authors do."""
    return int(density * count)


def of_neurons(density: float, dense: int, chosen: int) -> float:
    """The share of neurons, where `dense` products are computed whole and `chosen` by neuron.

    Raises PocketError where what is dense alone reads as much.
    """
    share = (density * (dense + chosen) - dense) / chosen
    if share > 0:
        return share
    least = dense / (dense + chosen)
    because = f"products that are computed whole are {least:.3f} of the network"
    raise PocketError(f"density {density:g} is too little here", because, "give a greater one")
