"""A cache that follows a text against one that never changes, on neurons that are made up."""

from __future__ import annotations

import numpy as np

from opencl_kernels.formats import Array
from toolkit.calibration.recurrence import KEPT, SHARES, TOKENS, recurring, split, use_of

F = 321


def again(active_TF: Array) -> Array:
    """By the order of what comes before."""
    fitted_TF, last_TF = split(active_TF)
    return recurring(last_TF, fitted_TF.mean(axis=0))


def test_of_independent_tokens_what_never_changes_misses_least() -> None:
    rng = np.random.default_rng(1)
    frequency = rng.random(F) ** 3
    found = again(rng.random((8 * TOKENS, F)) < frequency)
    assert found.shape == (1 + len(SHARES), 3) and found[0].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(found[1:, 0], np.float32(SHARES))
    assert (found[1:, 1:] > 0.98).all() and found[-1, 1] > 1.05


def test_what_follows_the_text_misses_less_where_its_neurons_are_other_ones() -> None:
    """A text needs all alike; the end of it the last 40 again and again."""
    rng = np.random.default_rng(2)
    active = rng.random((2 * TOKENS, F)) < 0.02
    active[TOKENS:, -40:] |= rng.random((TOKENS, 40)) < 0.8
    found = again(active)
    assert (found[2:, 1:] < 0.5).all()


def test_where_nothing_is_missed_both_are_alike() -> None:
    active = np.zeros((TOKENS, F), bool)
    active[:, :30] = True
    assert again(active)[1:, 1:].tolist() == [[1.0, 1.0]] * len(SHARES)


def test_what_is_chosen_by_some_tokens_is_replayed_by_others() -> None:
    """Some of the last half of the tokens that fill a cache before; frequencies by the rest."""
    active = np.random.default_rng(3).random((3 * TOKENS, F)) < 0.3
    use = use_of(active)
    assert use.replayed is not None and use.replayed.shape == (KEPT, F)
    np.testing.assert_allclose(use.frequency, active[: 2 * TOKENS].mean(axis=0), rtol=1e-6)
    last = active[-TOKENS // 2 :]
    assert {row.tobytes() for row in use.replayed} <= {row.tobytes() for row in last}
    order = np.arange(F)[::-1]
    np.testing.assert_array_equal(use.of(order).replayed, use.replayed[:, ::-1])
    few = use_of(active[:7])
    assert few.replayed is not None and len(few.replayed) == 2


def test_frequencies_of_more_tokens_are_taken_as_they_are() -> None:
    active = np.random.default_rng(4).random((TOKENS, F)) < 0.3
    frequency = np.random.default_rng(5).random(F).astype(np.float32)
    assert use_of(active, frequency).frequency is frequency
