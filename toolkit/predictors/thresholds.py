"""Above which score a neuron counts as active, so that few that are active are missed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from opencl_kernels.formats import Array


class Outcome(NamedTuple):
    """What a threshold does on some tokens: all are shares of numbers of neurons.

    recall               of the active ones are predicted
    predicted_over_true  how many times more are predicted than active
    density              of all are predicted
    """

    recall: float
    predicted_over_true: float
    density: float


def threshold_for(scores: Array, active: Array, recall: float) -> float:
    """The greatest float32 t so that score > t holds for at least `recall` of the active.

    scores, active  of as many neurons and tokens, in any shape: float32 and bool
    Where none is active, no score is above it.
    """
    if not 0 < recall <= 1:
        raise ValueError(f"a recall of {recall}")
    found = np.sort(scores[active].astype(np.float32))
    if not len(found):
        return float(np.nextafter(np.float32(scores.max(initial=-np.inf)), np.float32(np.inf)))
    missed = int((1 - recall) * len(found) + 1e-9)  # that many may be
    return float(np.nextafter(found[missed], np.float32(-np.inf)))


def outcome(scores: Array, active: Array, threshold: float) -> Outcome:
    """What `score > threshold` predicts; ratios to no active neuron are of one."""
    predicted = scores > np.float32(threshold)
    true, hits = max(1, int(active.sum())), int((predicted & active).sum())
    recall = hits / true if active.any() else 1.0
    return Outcome(recall, float(predicted.sum()) / true, float(predicted.mean()))
