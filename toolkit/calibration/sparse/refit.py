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
    width, depth = neurons.down.shape
    moment, product = np.zeros((width, width)), np.zeros((width, depth))
    for x in inputs:
        _, h = dip.masked(x)
        missed = neurons.output(neurons.hidden(x)) - neurons.output(h)
        moment += h.T @ h
        product += h.T @ missed
    again = replace(neurons, down=neurons.down + ridge(moment, product))
    return Dip.of(again, density, dip.taken_by(np.concatenate(inputs)))


def ridge(moment_FF: Array, product_FD: Array, weight: float = RIDGE) -> Array:
    """The least squares of hᵀh and hᵀy, drawn towards 0, float32 [F, D]: of units that are never
    taken nothing is known, and their part is 0."""
    count = len(moment_FF)
    room = weight * np.trace(moment_FF) / count or 1.0
    return np.asarray(np.linalg.solve(moment_FF + room * np.eye(count), product_FD), np.float32)
