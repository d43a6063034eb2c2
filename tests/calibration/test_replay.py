"""A cache that follows a text against one that never changes, on neurons that are made up."""

from __future__ import annotations

import numpy as np

from toolkit.calibration.replay import SHARES, TOKENS, recurring

F = 321


def test_of_independent_tokens_what_never_changes_misses_least() -> None:
    rng = np.random.default_rng(1)
    frequency = rng.random(F) ** 3
    found = recurring(rng.random((8 * TOKENS, F)) < frequency)
    assert found.shape == (1 + len(SHARES), 2) and found[0].tolist() == [0, 1]
    np.testing.assert_array_equal(found[1:, 0], np.float32(SHARES))
    assert (found[1:, 1] > 0.98).all() and found[-1, 1] > 1.05


def test_what_follows_the_text_misses_less_where_its_neurons_are_other_ones() -> None:
    """A text needs all alike; the end of it the last 40 again and again."""
    rng = np.random.default_rng(2)
    active = rng.random((2 * TOKENS, F)) < 0.02
    active[TOKENS:, -40:] |= rng.random((TOKENS, 40)) < 0.8
    found = recurring(active)
    assert (found[2:, 1] < 0.5).all()


def test_where_nothing_is_missed_both_are_alike() -> None:
    active = np.zeros((TOKENS, F), bool)
    active[:, :30] = True
    assert recurring(active)[1:, 1].tolist() == [1.0] * len(SHARES)
