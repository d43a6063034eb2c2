"""DIP (arXiv 2412.01380): the inputs and hidden units of greatest magnitude, by token."""

from __future__ import annotations

import numpy as np

from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.caches import Cache, chosen
from toolkit.calibration.sparse.case import Case, Passed, stage_of
from toolkit.calibration.sparse.densities import kept, split
from toolkit.calibration.sparse.room import Held, frequent, slots
from toolkit.offload.selection import top_rows


class Dip:
    """Inputs of greatest magnitude for gate and up, hidden units of greatest magnitude for down."""

    def __init__(self, neurons: Neurons, x_MD: Array, density: float) -> None:
        self._neurons = neurons
        inputs, downs = self.densities(neurons, density)
        count, depth = neurons.up.shape
        self._k = kept(inputs, depth), kept(downs, count)
        mask = top_rows(np.abs(x_MD), self._k[0])
        h = neurons.hidden(x_MD * mask)
        self._orders = frequent(mask), frequent(top_rows(np.abs(h), self._k[1]))

    def densities(self, neurons: Neurons, density: float) -> tuple[float, float]:
        """Of inputs and of hidden units; the split was fitted to gated networks."""
        return (density, density) if neurons.gate is None else split(density)

    def __call__(self, x_TD: Array, case: Case) -> Passed:
        """Each stage chooses by itself, by what lies in its own cache."""
        neurons = self._neurons
        count, depth = neurons.up.shape
        wide = count * (neurons.products - 1)
        tables = Held(depth, wide), Held(count, depth)
        rooms = slots(case.memory, neurons.numbers, tables)
        caches = [Cache(*each, case.policy) for each in zip(self._orders, rooms, strict=True)]
        into = chosen(x_TD, self._k[0], case.gamma, caches[0])
        h = neurons.hidden(x_TD * into.mask_TN)
        out = chosen(h, self._k[1], case.gamma, caches[1])
        stages = (
            stage_of("channels", wide, neurons.products - 1, into),
            stage_of("downs", depth, 1, out),
        )
        return Passed(neurons.output(h * out.mask_TN), stages)


class Uniform(Dip):
    """The same density for all products."""

    def densities(self, neurons: Neurons, density: float) -> tuple[float, float]:
        """Both alike."""
        return density, density
