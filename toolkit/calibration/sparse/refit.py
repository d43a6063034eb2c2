"""What DIP leaves out, made up for by another last matrix: recovery without training.

What W_d misses of the whole network's output is fitted by ridge regression to the masked hidden
units, layer by layer with the sparse model's own inputs, and added to it: nothing else changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.dip import Dip

RIDGE = 0.3  # of the mean eigenvalue: less helps low densities more, and hurts high ones


def refitted(neurons: Neurons, inputs: Sequence[Array], density: float) -> Dip:
    """DIP of this density with the matrix that is fitted to these inputs, each [M, D]."""
    dip = Dip(neurons, inputs[0], density)
    again = replace(neurons, down=neurons.down + added(neurons, dip, inputs))
    return Dip.of(again, density, dip.taken_by(np.concatenate(inputs)))


def added(neurons: Neurons, dip: Dip, inputs: Sequence[Array]) -> Array:
    """What is to be added to the last matrix where `dip` leaves out the rest, float32 [F, D].

    Memory: a square matrix of as many numbers as there are tokens or units, whichever is less.
    """
    x = np.concatenate(inputs)
    _, h = dip.masked(x)
    missed = neurons.output(neurons.hidden(x)) - neurons.output(h)
    if len(x) < h.shape[1]:
        return ridge_by_tokens(h, missed)
    return ridge(np.asarray(h.T @ h, np.float64), np.asarray(h.T @ missed, np.float64))


def ridge(moment_FF: Array, product_FD: Array, weight: float = RIDGE) -> Array:
    """The least squares of hᵀh and hᵀy, drawn towards 0, float32 [F, D]: of units that are never
    taken nothing is known, and their part is 0."""
    count = len(moment_FF)
    room = weight * np.trace(moment_FF) / count or 1.0
    return np.asarray(np.linalg.solve(moment_FF + room * np.eye(count), product_FD), np.float32)


def ridge_by_tokens(h_TF: Array, y_TD: Array, weight: float = RIDGE) -> Array:
    """The same of fewer tokens than units: hᵀ (h hᵀ + room)⁻¹ y."""
    gram = np.asarray(h_TF @ h_TF.T, np.float64)
    room = weight * np.trace(gram) / h_TF.shape[1] or 1.0
    inner = np.linalg.solve(gram + room * np.eye(len(gram)), y_TD)
    return np.asarray(h_TF.T @ inner, np.float32)
