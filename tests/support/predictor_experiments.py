"""Two ways to better predictors: thresholds that follow a text, and features of the layer before.

A threshold is fitted to a recall of a calibration's tokens. On another text it may miss more, or
predict more than need be. What is active is known only of what was computed: so one that follows
needs tokens of which all is computed, whose share is its price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opencl_kernels.formats import Array
from toolkit.predictors import predictor
from toolkit.predictors.predictor import Predictor
from toolkit.predictors.second_moment import SecondMoment
from toolkit.predictors.thresholds import Outcome, outcome

GAIN = 0.5  # of a step, in deviations of scores of what is active


@dataclass
class Following:
    """A threshold that moves so that `recall` of what is active is above it.

    step   deviation of the scores of active neurons, in which it moves
    every  one token of so many is computed whole, and tells what was missed
    """

    threshold: float
    step: float
    recall: float
    every: int
    seen: int = 0

    def mask(self, scores_MF: Array, active_MF: Array) -> Array:
        """Which neurons are computed, bool [M, F], token by token; of a whole one all are."""
        return np.stack([self._token(*each) for each in zip(scores_MF, active_MF, strict=True)])

    def _token(self, scores_F: Array, active_F: Array) -> Array:
        whole = self.seen % self.every == self.every - 1
        self.seen += 1
        above = np.asarray(scores_F > np.float32(self.threshold))
        if not whole:
            return above
        if active_F.any():
            missed = 1 - float(above[active_F].mean())
            self.threshold += GAIN * self.step * (1 - self.recall - missed)
        return np.ones_like(above)


@dataclass(frozen=True)
class Features:
    """Of some tokens what a layer's predictor may look at [M, D], and what was active [M, F]."""

    x: Array  # what the layer reads
    seen: Array  # what the predictor looks at
    active: Array


def mapped(
    weight_FD: Array, bias_F: Array | None, fitted: Features, rank: int, recall: float
) -> tuple[Predictor, Array]:
    """A predictor of other features than the layer's own input, and their mean.

    Features s tell of x what is linear in them, x ~ M (s - mean) + E[x], by least squares. So the
    matrix whose outputs are approximated is W M, and the bias has W E[x].
    """
    mean_S, mean_D = fitted.seen.mean(axis=0), fitted.x.mean(axis=0)
    centred = (fitted.seen - mean_S).astype(np.float32)
    moment = SecondMoment(centred.shape[1])
    moment.add(centred)
    root = moment.root()
    cross = (fitted.x - mean_D).astype(np.float64).T @ centred / len(centred)
    M = np.linalg.solve(root @ root.T, cross.T).T
    weight = (weight_FD @ M).astype(np.float32)
    bias = (weight_FD @ mean_D + (0 if bias_F is None else bias_F)).astype(np.float32)
    layer = predictor.Layer(weight, bias, moment, centred, fitted.active)
    return predictor.fit(layer, recall, ranks=(rank,)), mean_S


def judged(found: Predictor, mean_S: Array | float, judge: Features) -> tuple[Array, Outcome]:
    """Its scores of other tokens than it was fitted to, and what their prediction is worth."""
    scores = found.scores(judge.seen - mean_S)
    return scores, outcome(scores, judge.active, found.threshold)


@dataclass(frozen=True)
class Early:
    """Of what a layer misses, `found` was asked for early; of what was asked for, `useful` was
    missed; both shares of records.

    idle  how long flash must be idle before the layer asks, so that half of its reads are hidden,
          in the time of all of them, where the surest are read first and all take equally long;
          infinite where less is found
    """

    found: float
    useful: float
    idle: float


def early(
    scores_TF: Array, threshold: float, needed_TF: Array, resident_F: Array, hidden: float = 0.5
) -> Early:
    """What is predicted early and isn't in memory (bool [F]) is read early."""
    asked, missed = (scores_TF > np.float32(threshold)) & ~resident_F, needed_TF & ~resident_F
    surest = np.argsort(-scores_TF[asked], kind="stable")
    hits = np.cumsum(missed[asked][surest])
    all_, both = max(1, int(missed.sum())), int(hits[-1]) if len(hits) else 0
    enough = int(np.searchsorted(hits, hidden * all_)) + 1
    idle = enough / all_ if both >= hidden * all_ else float("inf")
    return Early(both / all_, both / max(1, len(hits)), idle)


def most_frequent(active_TF: Array, share: float) -> Array:
    """Bool [F]: this share of all neurons, those that fire most often."""
    resident = np.zeros(active_TF.shape[1], bool)
    order = np.argsort(-active_TF.mean(axis=0), kind="stable")
    resident[order[: int(share * len(order))]] = True
    return resident


def unit(rows_MD: Array) -> Array:
    """Each row with a mean square of 1: a stream grows from layer to layer."""
    size = np.sqrt(np.mean(np.square(rows_MD.astype(np.float32)), axis=1, keepdims=True))
    return np.asarray(rows_MD / np.maximum(size, 1e-6), np.float32)


def mean_outcome(found: Sequence[Outcome]) -> Outcome:
    """Of several layers."""
    return Outcome(*np.mean(found, axis=0).tolist())
