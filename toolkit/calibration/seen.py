"""What goes through a layer's FFN for a text, added up, and what is known of it in the end."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opencl_kernels.formats import Array
from toolkit.calibration.neurons import ZEROING, Neurons
from toolkit.calibration.recurrence import split, use_of
from toolkit.calibration.sparse.points import is_pruned, sizes_of, taken_of
from toolkit.predictors import predictor, thresholds
from toolkit.predictors.layer import Layer, Pointed, Use
from toolkit.predictors.second_moment import SecondMoment

RECALLS = (0.9, 0.95, 0.98, 0.995)  # operating points of a predictor
FITTED = 4096  # tokens that thresholds are fitted to


class Statistics:
    """Of one FFN, added up while the inputs of windows come; memory for FITTED of them."""

    def __init__(self, neurons: Neurons) -> None:
        """Of no tokens yet."""
        self._neurons = neurons
        self._moment = SecondMoment(neurons.up.shape[1])
        self._active = np.zeros(len(neurons.up), np.int64)
        self._sizes = np.zeros(len(neurons.up), np.float64)
        self._kept: list[tuple[Array, Array]] = []
        self.tokens = 0

    def add(self, x_MD: Array, h_MF: Array) -> None:
        """Inputs of some tokens, and what they became."""
        active = h_MF != 0
        self._moment.add(x_MD)
        self._active += active.sum(axis=0)
        self._sizes += np.abs(h_MF).sum(axis=0, dtype=np.float64)
        if (room := FITTED - sum(len(x) for x, _ in self._kept)) > 0:
            self._kept.append((x_MD[:room], active[:room]))
        self.tokens += len(x_MD)

    def layer(self, name: str, kind: str, recalls: Sequence[float] = RECALLS) -> Layer:
        """All that is known now; where no neuron is ever zero, nothing predicts which."""
        importance = self._sizes / max(1, self.tokens) * self._neurons.sizes
        of_all = (self._active / max(1, self.tokens)).astype(np.float32)
        about = name, kind, of_all, importance.astype(np.float32)
        if is_pruned(kind):
            x = np.concatenate([x for x, _ in self._kept])
            others, sizes = sizes_of(self._neurons, x)
            return Layer(*about, None, taken=taken_of(self._neurons, others), sizes=sizes)
        if kind not in ZEROING:
            return Layer(*about, None)
        use = self._use()
        predicted = self._predictor(recalls)
        return Layer(name, kind, use.frequency, about[3], predicted, use.recurring, use.replayed)

    def _use(self) -> Use:
        """Of neurons that aren't zero, frequencies by all tokens but those that are replayed."""
        kept = np.concatenate([active for _, active in self._kept])
        _, last = split(kept)
        others = max(1, self.tokens - len(last))
        return use_of(kept, ((self._active - last.sum(axis=0)) / others).astype(np.float32))

    def _predictor(self, recalls: Sequence[float]) -> Pointed:
        x, active = (np.concatenate(arrays) for arrays in zip(*self._kept, strict=True))
        weight, bias = self._neurons.deciding
        rows = 2 if self._neurons.gate is None else 3
        fitted = predictor.fit(predictor.Layer(weight, bias, self._moment, x, active, rows))
        scores = fitted.scores(x)
        points = {recall: thresholds.threshold_for(scores, active, recall) for recall in recalls}
        uses = {recall: use_of(scores > np.float32(least)) for recall, least in points.items()}
        return Pointed(fitted, points, uses)
