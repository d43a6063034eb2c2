"""How much of a prompt's reads is hidden, by counted cases and by clocks that go tick by tick."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.offload.prediction.tile_time import Tile, hidden, stalled


def ticked(tiles: list[Tile], places: int) -> int:
    """The same in whole seconds: a reader and a device, second by second."""
    reads = [i for i, tile in enumerate(tiles) if tile.reading]
    left = [tile.reading for tile in tiles]
    busy = [tile.before + tile.computing for tile in tiles]
    waited = 0
    while any(busy):
        now = next(i for i, seconds in enumerate(busy) if seconds)
        coming = next((i for i in reads if left[i]), len(tiles))
        held = sum(now <= i < coming for i in reads)
        waiting = busy[now] == tiles[now].computing and coming <= now
        if coming < len(tiles) and held < places:
            left[coming] -= 1
        busy[now] -= not waiting
        waited += waiting
    return waited


@pytest.mark.parametrize("seed", range(5))
def test_it_is_what_clocks_tell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    numbers = rng.integers(0, 6, (12, 3)).tolist()
    tiles = [Tile(float(r), float(c + 1), float(b)) for r, c, b in numbers]
    found = [stalled(tiles, places) for places in (2, 3, 4, 12)]
    assert found == [ticked(tiles, places) for places in (2, 3, 4, 12)]
    assert found == sorted(found, reverse=True)  # more places never wait longer
    shares = [hidden(tiles, places) for places in (2, 3, 4, 12)]
    assert shares == sorted(shares) and shares[0] >= 0


def test_places_hide_what_is_read_while_others_are_computed() -> None:
    """Four tiles of a second each in a layer, behind three seconds of attention."""
    layer = [Tile(1.0, 0.25, 3.0), *[Tile(1.0, 0.25)] * 3]
    tiles = layer * 8
    assert stalled(tiles, 2) > stalled(tiles, 3) > stalled(tiles, 4)
    assert hidden(tiles, 2) < 0.7 and hidden(tiles, 4) > 0.9
    assert stalled([Tile(0.0, 1.0)] * 4, 2) == 0 and hidden([Tile(0.0, 1.0)], 2) == 1
