"""What is left out of a network, and what caches make of it: by known vectors and by definition."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_passes.mask_ffn import count_of, split
from opencl_kernels.records.neurons import activation
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.caches import Cache, chosen, followed
from toolkit.calibration.sparse.case import Case
from toolkit.calibration.sparse.densities import of_neurons
from toolkit.calibration.sparse.dip import Dip
from toolkit.calibration.sparse.labels import Labelled
from toolkit.calibration.sparse.methods import METHODS, Fixed
from toolkit.calibration.sparse.refit import refitted, ridge
from toolkit.calibration.sparse.room import Held, slots
from toolkit.errors import PocketError
from toolkit.offload.selection import top_mask, top_rows

D, F, T = 12, 40, 33


def network(gated: bool = True) -> Neurons:
    rng = np.random.default_rng(1)
    gate, up, down = rng.standard_normal((3, F, D)).astype(np.float32)
    biases = rng.standard_normal((2, F)).astype(np.float32)
    acts = activation("v * Sigmoid(v)"), activation("v")
    if not gated:
        return Neurons(None, up, down, None, biases[1], None, acts[1], activation("Relu(v)"))
    return Neurons(gate, up, down, biases[0], biases[1], None, *acts)


def tokens(count: int = T, width: int = D, seed: int = 2) -> np.ndarray:
    found: np.ndarray = np.random.default_rng(seed).standard_normal((count, width))
    return found.astype(np.float32)


# (D, F), density -> inputs and hidden units that DIP takes, by its authors' fit
TAKEN = {
    ((4096, 14336), 0.5): (2352, 5035),
    ((5120, 17920), 0.5): (2940, 6294),
    ((3072, 8192), 0.5): (1764, 2877),
    ((896, 4864), 0.5): (514, 1708),
    ((576, 1536), 0.5): (330, 539),
    ((2048, 5632), 0.5): (1176, 1978),
    ((64, 172), 0.5): (36, 60),
    ((4096, 14336), 0.7): (3099, 8411),
    ((5120, 17920), 0.7): (3873, 10514),
    ((3072, 8192), 0.7): (2324, 4806),
}


def test_a_density_is_split_as_its_authors_do() -> None:
    for (sizes, density), taken in TAKEN.items():
        shares = split(density, True)
        assert tuple(count_of(*each) for each in zip(shares, sizes, strict=True)) == taken
        assert (2 * shares[0] + shares[1]) / 3 == pytest.approx(density)
    assert split(1.0, True) == (1.0, 1.0) and split(0.5, False) == (0.5, 0.5)
    assert of_neurons(0.5, 1, 2) == pytest.approx(0.25) and of_neurons(0.5, 0, 3) == 0.5
    with pytest.raises(PocketError, match=r"density 0\.3 is too little"):
        of_neurons(0.3, 1, 2)


def test_many_rows_are_chosen_as_one_is() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(0, 5, (200, 17)).astype(np.float32)  # many ties
    for k in (0, 1, 4, 16, 17, 20):
        rows = top_rows(sizes, k)
        assert all((row == top_mask(one, k)).all() for row, one in zip(rows, sizes, strict=True))


@pytest.mark.parametrize(
    ("values", "cached", "k", "gammas"),
    [
        ((0.312, 0.876, 0.33), (1, 0, 1), 2, {0.2: (0, 2), 1: (1, 2)}),
        (
            (0.9, 0.8, 0.5, 0.45, 0.3, 0.2),
            (0, 0, 1, 1, 0, 1),
            3,
            {1: (0, 1, 2), 0.5: (0, 2, 3), 0.2: (2, 3, 5), 0: (2, 3, 5)},
        ),
    ],
)
def test_what_lies_in_memory_counts_more(
    values: tuple[float, ...],
    cached: tuple[int, ...],
    k: int,
    gammas: dict[float, tuple[int, ...]],
) -> None:
    order = np.argsort(-np.array(cached), kind="stable")
    held = Cache(order, sum(cached))
    for gamma, wanted in gammas.items():
        found = chosen(np.array([values]), k, gamma, held)
        assert np.flatnonzero(found.mask_TN[0]).tolist() == list(wanted)
        missing = order[np.flatnonzero(found.missing_TN[0])]
        assert sorted(missing) == [i for i in wanted if not cached[i]]


MASKS = ((0, 1), (1, 2), (1, 3), (2, 4), (0, 4), (0, 5), (0, 1))


@pytest.mark.parametrize(("policy", "hits"), [("lfu", "0111112"), ("lru", "0111111")])
def test_caches_begin_empty_and_keep_what_was_taken_first(policy: str, hits: str) -> None:
    mask = np.zeros((len(MASKS), 6), bool)
    for row, taken in zip(mask, MASKS, strict=True):
        row[list(taken)] = True
    missing = followed(mask, Cache(np.arange(6), 3, policy))
    assert "".join(str(n) for n in 2 - missing.sum(axis=1)) == hits


@pytest.mark.parametrize("policy", ["static", "lru", "lfu"])
def test_gamma_of_one_looks_at_no_cache_and_of_none_misses_nothing(policy: str) -> None:
    values, order = tokens(width=30), np.random.default_rng(5).permutation(30)
    held = Cache(order, 12, policy)
    plain, aware = (chosen(values, 10, gamma, held) for gamma in (1.0, 1.0 - 1e-7))
    assert (plain.mask_TN == top_rows(np.abs(values), 10)).all()
    assert (aware.mask_TN == plain.mask_TN).all() and (aware.missing_TN == plain.missing_TN).all()
    never = chosen(values, 10, 0.0, held)
    first = 0 if policy == "static" else 2  # a cache fills with the first tokens
    assert not never.missing_TN[first:].any() and (never.mask_TN.sum(axis=1) == 10).all()
    some = chosen(values, 10, 0.3, held)
    assert never.missing_TN.sum() < some.missing_TN.sum() < plain.missing_TN.sum()
    odd = values.copy()
    odd[0, :25] = np.nan  # a NaN counts as 0
    assert chosen(odd, 5, 1.0, held).mask_TN[0, 25:].all()


@pytest.mark.parametrize("gated", [True, False])
def test_of_a_whole_density_nothing_is_left_out(gated: bool) -> None:
    neurons, x = network(gated), tokens()
    whole = neurons.output(neurons.hidden(x))
    names = [name for name in METHODS if gated or name not in ("cats", "glu")]
    for name in names:
        passed = METHODS[name](neurons, tokens(50), 1.0)(x, Case(name, memory=0.5))
        np.testing.assert_allclose(passed.y_TD, whole, rtol=1e-5, atol=1e-5)
        taken = sum(float(stage.chosen_T.sum()) * stage.width for stage in passed.stages)
        missed = sum(float(stage.missed_T.sum()) * stage.width for stage in passed.stages)
        assert taken == pytest.approx(T * neurons.numbers)
        assert missed == pytest.approx(T * neurons.numbers / 2, rel=0.02), name


def test_dip_computes_what_its_masks_say() -> None:
    """By the definition, with numbers that are no outcome of the code itself."""
    neurons, x = network(), tokens()
    passed = METHODS["dip"](neurons, tokens(50), 0.5)(x, Case("dip", 0.5))
    into, out = (count_of(*each) for each in zip(split(0.5, True), (D, F), strict=True))
    assert neurons.gate is not None and neurons.gate_bias is not None
    for token, y in zip(x, passed.y_TD, strict=True):
        inputs = np.argsort(-np.abs(token), kind="stable")[:into]
        g = neurons.gate[:, inputs] @ token[inputs] + neurons.gate_bias
        h = g / (1 + np.exp(-g)) * (neurons.up[:, inputs] @ token[inputs] + neurons.up_bias)
        units = np.argsort(-np.abs(h), kind="stable")[:out]
        np.testing.assert_allclose(y, h[units] @ neurons.down[units], rtol=1e-4, atol=1e-4)
    channels, downs = passed.stages
    assert (channels.chosen_T == into).all() and (downs.chosen_T == out).all()
    assert channels.width == 2 * F and downs.width == D


def test_a_refitted_network_is_nearer_to_the_whole_one() -> None:
    neurons, parts = network(), [tokens(300), tokens(300, seed=4)]
    x, case = np.concatenate(parts), Case("dip", 0.5)
    whole = neurons.output(neurons.hidden(x))
    both = Dip(neurons, x, 0.5), refitted(neurons, parts, 0.5)
    errors = [np.square(each(x, case).y_TD - whole).mean() for each in both]
    assert errors[1] < 0.95 * errors[0]
    assert (both[1].taken.units == both[0].taken.units).all()
    h, y = np.abs(tokens(40)), tokens(40, 5)
    h[:, 3] = 0
    moment = h.T @ h
    wanted = np.linalg.inv(moment + 0.3 * np.trace(moment) / D * np.eye(D)) @ h.T @ y
    np.testing.assert_allclose(ridge(moment, h.T @ y), wanted, rtol=1e-3, atol=1e-4)
    assert not ridge(moment, h.T @ y)[3].any() and not ridge(0 * moment, 0 * h.T @ y).any()


def test_others_choose_neurons_and_prune() -> None:
    neurons, x = network(), tokens()
    h, count = neurons.hidden(x), {"cats": 0.25, "glu": 0.2, "lowrank": 0.5}
    densities = {"cats": 0.5, "glu": (2 + 0.2) / 3, "lowrank": 0.5}
    by = {"cats": np.abs(neurons.gated(x)), "glu": np.abs(h)}
    for name, density in densities.items():
        passed = METHODS[name](neurons, tokens(50), density)(x, Case(name, density, memory=0.4))
        k = int(count[name] * F)
        assert (passed.stages[-1].chosen_T == k).all()
        if name in by:
            wanted = neurons.output(h * top_rows(by[name], k))
            np.testing.assert_allclose(passed.y_TD, wanted, rtol=1e-5, atol=1e-5)
            assert passed.stages[0].name == "dense"
    pruned = METHODS["static"](neurons, tokens(50), 0.5)
    [stage] = pruned(x, Case("static", 0.5, memory=0.25)).stages
    assert stage.missed_T.mean() == F / 2  # half of the weights: a quarter of all has half of them
    assert isinstance(pruned, Fixed)
    assert (pruned._neurons.up != 0).sum(axis=1).tolist() == [D // 2] * F


def test_what_comes_first_has_its_place_before_others() -> None:
    tables = Held(10, 4, True), Held(10, 8)
    assert slots(0.5, 120, tables) == [10, 2]
    assert slots(0.2, 120, tables) == [6, 0]
    assert slots(1.0, 120, tables) == [10, 10]
    assert slots(0.3, 120, [Held(10, 12)]) == [3]


def test_a_predictor_learns_labels_of_low_rank() -> None:
    rng = np.random.default_rng(3)
    low = rng.standard_normal((D, 3)).astype(np.float32) @ rng.standard_normal((3, F))
    x, other = tokens(600), tokens(200, seed=7)
    found = Labelled.fit(x, top_rows(np.exp(x @ low).astype(np.float32), 10), epochs=20)
    wanted = top_rows(np.exp(other @ low).astype(np.float32), 10)
    predicted = top_rows(found.probabilities(other), 10)
    assert (predicted & wanted).sum() > 0.8 * wanted.sum()
