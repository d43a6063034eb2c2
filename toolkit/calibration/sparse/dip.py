"""DIP (arXiv 2412.01380): the inputs and hidden units of greatest magnitude, by token."""

from __future__ import annotations

import numpy as np

from onnx_passes.mask_ffn import count_of, split
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.caches import Cache, chosen
from toolkit.calibration.sparse.case import Case, Passed, stage_of
from toolkit.calibration.sparse.room import Held, slots
from toolkit.offload.selection import top_rows
from toolkit.predictors.layer import Taken


class Dip:
    """Inputs of greatest magnitude for gate and up, hidden units of greatest magnitude for down."""

    uniform = False  # the same density for all products; else split as the authors fitted it

    def __init__(self, neurons: Neurons, x_MD: Array, density: float) -> None:
        self._begin(neurons, density)
        self.taken = self.taken_by(x_MD)

    @classmethod
    def of(cls, neurons: Neurons, density: float, taken: Taken) -> Dip:
        """With frequencies that are known."""
        found = cls.__new__(cls)
        found._begin(neurons, density)
        found.taken = taken
        return found

    def __call__(self, x_TD: Array, case: Case) -> Passed:
        """Each stage chooses by itself, by what lies in its own cache."""
        neurons = self._neurons
        count, depth = neurons.up.shape
        wide = count * (neurons.products - 1)
        rooms = slots(case.memory, neurons.numbers, (Held(depth, wide), Held(count, depth)))
        orders = (
            np.argsort(-each, kind="stable") for each in (self.taken.inputs, self.taken.units)
        )
        caches = [Cache(*each, case.policy) for each in zip(orders, rooms, strict=True)]
        into = chosen(x_TD, self._k[0], case.gamma, caches[0])
        h = neurons.hidden(x_TD * into.mask_TN)
        out = chosen(h, self._k[1], case.gamma, caches[1])
        stages = (
            stage_of("channels", wide, neurons.products - 1, into),
            stage_of("downs", depth, 1, out),
        )
        return Passed(self.output(h * out.mask_TN), stages)

    def output(self, h_TF: Array) -> Array:
        """Of masked units."""
        return self._neurons.output(h_TF)

    def masked(self, x_MD: Array) -> tuple[Array, Array]:
        """Which inputs are taken, bool [M, D], and the units that are, others being 0 [M, F]."""
        mask = top_rows(np.abs(x_MD), self._k[0])
        h = self._neurons.hidden(x_MD * mask)
        return mask, h * top_rows(np.abs(h), self._k[1])

    def taken_by(self, x_MD: Array) -> Taken:
        """How often these tokens take each."""
        mask, h = self.masked(x_MD)
        units = top_rows(np.abs(h), self._k[1])
        return Taken(*(np.asarray(m.mean(axis=0), np.float32) for m in (mask, units)))

    def _begin(self, neurons: Neurons, density: float) -> None:
        self._neurons = neurons
        count, depth = neurons.up.shape
        shares = split(density, neurons.gate is not None and not self.uniform)
        self._k = count_of(shares[0], depth), count_of(shares[1], count)


class Uniform(Dip):
    """The same density for all products."""

    uniform = True
