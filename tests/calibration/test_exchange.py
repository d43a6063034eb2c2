"""Densities that go from one layer to another."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from toolkit.calibration.sparse.exchange import exchange


def falling(lists: Sequence[tuple[float, ...]]) -> list[float]:
    """The first layer needs all it can get, the last one nothing; together they lose more."""
    return [(1 - a) ** 2 + 0.5 * (1 - b) ** 2 + 0.01 * (1 - c) for a, b, c in lists]


def test_what_one_layer_gives_up_another_gets() -> None:
    found = exchange(0.5, 3, falling)
    assert sum(found.densities) == pytest.approx(1.5)
    assert found.densities[0] > 0.5 > found.densities[2]
    assert falling([found.densities])[0] < falling([(0.5,) * 3])[0]
    assert 0 < found.tries <= 2 * 3 + 3  # the last time some are tried at once


def test_nothing_is_kept_that_all_together_lose_by() -> None:
    """Alone each layer says that an exchange is good; with the other in place it isn't."""

    def losses(lists: Sequence[tuple[float, ...]]) -> list[float]:
        alone = {0.5625: -0.2, 0.4375: 0.1, 0.5: 0.0}
        return [9.0 if a != 0.5 != b else alone[a] + alone[b] for a, b in lists]

    assert exchange(0.5, 2, losses).densities == (0.5, 0.5)
    assert exchange(1.0, 2, lambda lists: [sum(each) for each in lists]).densities == (1.0, 1.0)
