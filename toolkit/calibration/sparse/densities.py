"""Densities of networks whose products are computed whole in part."""

from __future__ import annotations

from toolkit.errors import PocketError


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
