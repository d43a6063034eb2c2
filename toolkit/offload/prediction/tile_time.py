"""How much of a prompt's reads is hidden: its gathers need all records, and go tile after tile.

Reads go on ahead, of the next layer, too, as far as staging has places; while others are computed,
what lies between networks among them. So the device waits where reads take longer, and where all
places are full while flash stands idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """Records that are computed together.

    reading    seconds of flash; 0: they lie in memory, and need no place
    computing  seconds of the device
    before     seconds that it computes other things first, behind the tile before
    """

    reading: float
    computing: float
    before: float = 0.0


def stalled(tiles: Sequence[Tile], places: int) -> float:
    """Seconds in which the device waits for reads, of which `places` tiles have room at once."""
    read = done = waited = 0.0
    ended = [0.0] * places  # a tile's place is free when the one so many before it is computed
    for tile in tiles:
        done += tile.before
        if tile.reading:
            read = max(read, ended[-places]) + tile.reading
            waited += max(0.0, read - done)
            done = max(read, done)
        done += tile.computing
        if tile.reading:
            ended.append(done)
    return waited


def hidden(tiles: Sequence[Tile], places: int) -> float:
    """Of the seconds of reads, the share in which nothing waits for them; 1 without reads."""
    reading = sum(tile.reading for tile in tiles)
    return 1 - stalled(tiles, places) / reading if reading else 1.0
