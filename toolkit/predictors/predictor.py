"""Which neurons of an FFN will be active, predicted by a product of low rank.

The predictor of LLM in a flash (Alizadeh et al. 2024, section 3.1): score = B (A x) + bias, and a
neuron is active where its score is above a threshold. There A and B are trained; here they are the
whitened truncated SVD of the gate's matrix (low_rank.py), which predicts as well, and each layer
has a threshold of its own, fitted to a recall. Both matrices are stored in codes of 4 bits, and
the threshold is fitted to these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnx_passes.weights import e0m4
from opencl_kernels.formats import Array, Quantized
from toolkit.predictors.low_rank import Factors, whitened
from toolkit.predictors.second_moment import SecondMoment
from toolkit.predictors.thresholds import Outcome, outcome, threshold_for

RANKS = (16, 32, 64, 128, 256, 512, 1024)
RECALL, MOST_PREDICTED = 0.95, 2.0
GROUP = 32  # of codes; of a lower rank half as many


@dataclass(frozen=True)
class Predictor:
    """A [rank, D] and B [F, rank] in codes, bias f32[F] or None; what it does on its own rows."""

    A: Quantized
    B: Quantized
    bias: Array | None
    threshold: float
    outcome: Outcome

    @property
    def rank(self) -> int:
        """Columns of B."""
        return int(self.B.codes_NK.shape[1])

    def scores(self, x_MD: Array) -> Array:
        """float32 [M, F]; a neuron is predicted where its score is above the threshold."""
        return _scores(self.A, self.B, self.bias, x_MD)


@dataclass(frozen=True)
class Layer:
    """What a predictor is fitted to.

    weight  [F, D] of the gate, or of up where there is none, and its bias [F]
    x       [M, D] inputs of some tokens, of which `moment` has at least as many
    active  bool [M, F]: what isn't zero
    rows    of D numbers that a predicted neuron is computed from: three with a gate
    """

    weight: Array
    bias: Array | None
    moment: SecondMoment
    x: Array
    active: Array
    rows: int = 2


def fit(
    layer: Layer,
    recall: float = RECALL,
    most_predicted: float = MOST_PREDICTED,
    ranks: Sequence[int] = RANKS,
) -> Predictor:
    """The predictor of least rank that predicts at most so many times what is active, or of a
    greater one: the rank is doubled while a token takes fewer numbers in all, those of the
    predictor and those of predicted neurons.

    Of the greatest rank, where none is as good: its `outcome` says what it does.
    """
    root, best = layer.moment.root(), None
    for rank in ranks:
        found = _of_rank(layer, whitened(layer.weight, root, rank), recall)
        good = best and best.outcome.predicted_over_true <= most_predicted
        if best and good and _numbers(layer, found) >= _numbers(layer, best):
            break
        best = found
        if found.rank < rank:
            break
    if best is None:
        raise ValueError("no rank is given")
    return best


def _numbers(layer: Layer, found: Predictor) -> float:
    """That a token is computed from: of the predictor, and of the neurons that it predicts."""
    F, D = layer.weight.shape
    return float(found.rank * (F + D) + found.outcome.density * F * layer.rows * D)


def _of_rank(layer: Layer, factors: Factors, recall: float) -> Predictor:
    A = _coded(factors.A)
    B = _coded(factors.B)
    scores = _scores(A, B, layer.bias, layer.x)
    threshold = threshold_for(scores, layer.active, recall)
    return Predictor(A, B, layer.bias, threshold, outcome(scores, layer.active, threshold))


def _coded(matrix: Array) -> Quantized:
    return e0m4.quantize(matrix, GROUP if matrix.shape[1] >= GROUP else GROUP // 2)


def _scores(A: Quantized, B: Quantized, bias: Array | None, x_MD: Array) -> Array:
    scores = x_MD.astype(np.float32) @ A.values().T @ B.values().T
    return np.asarray(scores if bias is None else scores + bias, np.float32)
