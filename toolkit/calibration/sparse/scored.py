"""Neurons chosen by a score: what DIP's authors compare it with."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from onnx_passes.mask_ffn import count_of
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.caches import Cache, Chosen, followed
from toolkit.calibration.sparse.case import DENSE, Case, Passed, stage_of
from toolkit.calibration.sparse.densities import of_neurons
from toolkit.calibration.sparse.labels import Labelled
from toolkit.calibration.sparse.room import Held, frequent, slots, whole
from toolkit.offload.selection import top_rows


class OfNeurons:
    """Neurons are chosen by a score, some of the products being computed whole for it."""

    dense: ClassVar[int] = 0  # products

    def __init__(self, neurons: Neurons, x_MD: Array, density: float) -> None:
        self._neurons = neurons
        count = len(neurons.up)
        rest = neurons.products - self.dense
        self._k = count_of(of_neurons(density, self.dense, rest), count)
        self.fit(x_MD)
        self._order = frequent(top_rows(self.scores(x_MD), self._k))

    def fit(self, x_MD: Array) -> None:
        """What scores need."""

    def scores(self, x_MD: Array) -> Array:
        """By which neurons are chosen, at least 0 [M, F]."""
        raise NotImplementedError

    def __call__(self, x_TD: Array, case: Case) -> Passed:
        """The best neurons by their scores."""
        neurons = self._neurons
        count, depth = neurons.up.shape
        rest = neurons.products - self.dense
        tables = Held(count, depth * self.dense, True), Held(count, depth * rest)
        rooms = slots(case.memory, neurons.numbers, tables)
        cache = Cache(self._order, rooms[1], case.policy)
        mask = top_rows(self.scores(x_TD), self._k)
        stages = [stage_of("neurons", depth * rest, rest, Chosen(mask, followed(mask, cache)))]
        if self.dense:
            all_of = np.ones_like(mask)
            read = Chosen(all_of, followed(all_of, whole(count, rooms[0])))
            stages.insert(0, stage_of(DENSE, depth * self.dense, self.dense, read))
        return Passed(neurons.output(neurons.hidden(x_TD) * mask), tuple(stages))


class Cats(OfNeurons):
    """By the magnitude of the gate behind its activation, which is computed whole (CATS)."""

    dense = 1

    def scores(self, x_MD: Array) -> Array:
        """|act(gate)|."""
        return np.abs(self._neurons.gated(x_MD))


class Glu(OfNeurons):
    """By the hidden unit itself: only `down` reads less."""

    dense = 2

    def scores(self, x_MD: Array) -> Array:
        """|h|."""
        return np.abs(self._neurons.hidden(x_MD))


class LowRank(OfNeurons):
    """By a predictor of which hidden units are the greatest (DejaVu)."""

    def fit(self, x_MD: Array) -> None:
        """Labels: the k greatest."""
        labels = top_rows(np.abs(self._neurons.hidden(x_MD)), self._k)
        self._predictor = Labelled.fit(x_MD, labels)

    def scores(self, x_MD: Array) -> Array:
        """Probabilities."""
        return self._predictor.probabilities(x_MD)
