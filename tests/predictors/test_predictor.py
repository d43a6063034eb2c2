"""Predictors: nearest outputs of low rank, thresholds that keep a recall, the least rank."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from opencl_kernels.formats import Array
from toolkit.predictors import low_rank, predictor, thresholds
from toolkit.predictors.predictor import Layer
from toolkit.predictors.second_moment import SecondMoment


def moment_of(x_MD: Array) -> SecondMoment:
    moment = SecondMoment(x_MD.shape[1])
    for rows in np.array_split(x_MD, 7):
        moment.add(rows)
    return moment


def some_layer(rng: np.random.Generator, D: int, F: int, rank: int, tokens: int = 2048) -> Layer:
    """Gates of a rank and a tenth of noise, inputs that are far from white."""
    mixed = rng.standard_normal((D, D)) * np.exp(-np.arange(D) / (D / 8))
    x_MD = (rng.standard_normal((tokens, D)) @ mixed.T).astype(np.float32)
    low = rng.standard_normal((F, rank)) @ rng.standard_normal((rank, D))
    weight = (low + 0.1 * np.sqrt(rank) * rng.standard_normal((F, D))).astype(np.float32)
    bias = rng.standard_normal(F).astype(np.float32) - 1.5 * np.std(x_MD @ weight.T)
    active = x_MD @ weight.T + bias > 0
    return Layer(weight, bias.astype(np.float32), moment_of(x_MD), x_MD, active)


@pytest.mark.parametrize("D, F, rank", [(7, 63, 1), (65, 40, 8), (64, 65, 64), (33, 7, 99)])
def test_no_product_of_this_rank_has_nearer_outputs(D: int, F: int, rank: int) -> None:
    rng = np.random.default_rng(D)
    layer = some_layer(rng, D, F, 3)
    root = layer.moment.root()
    B, A = low_rank.whitened(layer.weight, root, rank)
    assert B.shape == (F, min(rank, D, F)) and A.shape == (min(rank, D, F), D)
    error = np.linalg.norm((layer.weight - B @ A) @ root)
    left = np.linalg.svd(layer.weight @ root, compute_uv=False)[rank:]  # Eckart and Young
    size = np.linalg.norm(layer.weight @ root)
    assert error <= np.linalg.norm(left) * 1.01 + 1e-5 * size


def test_inputs_decide_what_is_near() -> None:
    rng = np.random.default_rng(1)
    layer = some_layer(rng, 96, 200, 60)
    plain = low_rank.whitened(layer.weight, np.eye(96), 16)
    ours = low_rank.whitened(layer.weight, layer.moment.root(), 16)
    y = layer.x @ layer.weight.T
    errors = [np.linalg.norm(y - layer.x @ f.A.T @ f.B.T) for f in (ours, plain)]
    assert errors[0] < 0.7 * errors[1]


def test_a_moment_is_that_of_all_rows() -> None:
    x_MD = np.random.default_rng(2).standard_normal((65, 9)).astype(np.float32)
    moment = moment_of(x_MD)
    assert np.allclose(moment.value, x_MD.T.astype(np.float64) @ x_MD / 65)
    root = moment.root()
    assert np.allclose(np.triu(root, 1), 0) and np.allclose(root @ root.T, moment.value, rtol=1e-2)
    assert np.isfinite(SecondMoment(5).root()).all()  # of nothing


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.95, 0.995, 1.0])
@pytest.mark.parametrize("count", [1, 7, 63, 1000])
def test_a_threshold_keeps_its_recall_and_no_more_than_that(recall: float, count: int) -> None:
    rng = np.random.default_rng(count)
    active = rng.random(count) < 0.5
    scores = (rng.standard_normal(count) + 2 * active).astype(np.float32)
    found = thresholds.threshold_for(scores, active, recall)
    assert thresholds.outcome(scores, active, found).recall >= recall
    above = scores[active & (scores > np.float32(found))]
    if len(above):  # one more would be too many
        assert thresholds.outcome(scores, active, float(above.min())).recall < recall or (
            recall <= 1 - 1 / active.sum()
        )


def test_where_none_is_active_none_is_predicted() -> None:
    scores, active = np.linspace(-1, 1, 9, dtype=np.float32), np.zeros(9, bool)
    found = thresholds.threshold_for(scores, active, 0.9)
    assert not (scores > np.float32(found)).any()
    assert thresholds.outcome(scores, active, found) == (1.0, 0.0, 0.0)


def test_the_least_rank_that_predicts_well_is_taken() -> None:
    layer = some_layer(np.random.default_rng(3), 128, 384, 24)
    found = predictor.fit(layer)
    assert found.rank in (16, 32) and found.outcome.predicted_over_true <= 2
    assert found.outcome.recall >= 0.95
    scores = found.scores(layer.x)
    assert thresholds.outcome(scores, layer.active, found.threshold) == found.outcome
    exact = predictor.fit(layer, ranks=(128,))
    assert exact.outcome.predicted_over_true < found.outcome.predicted_over_true
    strict = predictor.fit(layer, most_predicted=exact.outcome.predicted_over_true)
    assert strict.rank > found.rank


def test_the_rank_grows_while_a_token_takes_fewer_numbers() -> None:
    """Of gates of rank 40: 16 is good enough; 32 is better where neurons cost much, 64 nowhere."""
    F, D, ranks, chosen = 256, 128, (16, 32, 64), []
    layer = some_layer(np.random.default_rng(6), D, F, 40, tokens=600)
    density = {rank: predictor.fit(layer, ranks=(rank,)).outcome.density for rank in ranks}
    for rows in (0, 30):
        numbers = {r: r * (D + F) + density[r] * F * rows * D for r in ranks}
        least = min(numbers, key=numbers.__getitem__)
        assert predictor.fit(replace(layer, rows=rows), ranks=ranks).rank == least
        chosen.append(least)
    assert chosen == [16, 32]


def test_a_rank_beyond_the_matrix_ends_the_search() -> None:
    layer = some_layer(np.random.default_rng(4), 40, 63, 40, tokens=500)
    found = predictor.fit(layer, recall=1.0, most_predicted=0.5)
    assert found.rank == 40
