"""The ways to leave out parts of a network, and what their authors compare them with.

Each is made for a layer and a density of what the fitted tokens say, and then passes windows on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np

from onnx_passes.analysis.ffn import Ffn
from onnx_passes.mask_ffn import count_of
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.caches import Chosen, followed
from toolkit.calibration.sparse.case import Case, Passed, Stage, stage_of
from toolkit.calibration.sparse.densities import of_neurons
from toolkit.calibration.sparse.dip import Dip, Uniform
from toolkit.calibration.sparse.room import Held, slots, whole
from toolkit.calibration.sparse.scored import Cats, Glu, LowRank, OfNeurons
from toolkit.compiler.budget.ffn_kind import kind_of
from toolkit.offload.legality import check as legal
from toolkit.offload.selection import top_rows


class Method(Protocol):
    """A network without some of its parts."""

    def __init__(self, neurons: Neurons, x_MD: Array, density: float) -> None:
        """`x_MD`: inputs of tokens that it may be fitted to."""

    def __call__(self, x_TD: Array, case: Case) -> Passed:
        """What it gives for the tokens of a window."""


class All:
    """Nothing is left out: what isn't in memory is read for every token."""

    def __init__(self, neurons: Neurons, x_MD: Array, density: float) -> None:
        self._neurons = neurons

    def __call__(self, x_TD: Array, case: Case) -> Passed:
        """The whole network."""
        neurons = self._neurons
        y = neurons.output(neurons.hidden(x_TD))
        return Passed(y, (_whole(neurons, len(x_TD), case, 1.0),))


class Fixed:
    """Weights that are left out for good: the least of |w| * |input| of each output (Wanda).

    The inputs' length is that of the fitted tokens. What is kept has no order to be read by, so
    the bytes are those of a smaller network; indices are not counted.
    """

    def __init__(self, neurons: Neurons, x_MD: Array, density: float) -> None:
        h = neurons.hidden(x_MD)
        gate = None if neurons.gate is None else _pruned(neurons.gate, x_MD, density)
        down = _pruned(neurons.down.T, h, density).T
        self._density = density
        self._neurons = replace(
            neurons, gate=gate, up=_pruned(neurons.up, x_MD, density), down=down
        )

    def __call__(self, x_TD: Array, case: Case) -> Passed:
        """The smaller network."""
        y = self._neurons.output(self._neurons.hidden(x_TD))
        return Passed(y, (_whole(self._neurons, len(x_TD), case, self._density),))


METHODS: Mapping[str, type[Method]] = {
    "all": All,
    "dip": Dip,
    "dip-ca": Dip,
    "uniform": Uniform,
    "cats": Cats,
    "glu": Glu,
    "lowrank": LowRank,
    "static": Fixed,
}
AS = {"uniform": "dip", "glu": "cats", "static": "all"}  # of the others: whose legality it has


def check(number: int, ffn: Ffn, case: Case) -> None:
    """Raise PocketError where a case means nothing for a layer's network, or its density is too
    little.

    What a selector is warned of may be simulated: its figures say what it costs.
    """
    legal(f"layers.{number}.ffn", kind_of(ffn), AS.get(case.sparsity, case.sparsity))
    method = METHODS[case.sparsity]
    if issubclass(method, OfNeurons):
        of_neurons(case.density, method.dense, (2 if ffn.gate is None else 3) - method.dense)


def _whole(neurons: Neurons, tokens: int, case: Case, density: float) -> Stage:
    """What every token takes whole, neuron by neuron."""
    count, depth = neurons.up.shape
    width = depth * neurons.products * density
    [room] = slots(case.memory, neurons.numbers, [Held(count, width)])
    mask = np.ones((tokens, count), bool)
    taken = Chosen(mask, followed(mask, whole(count, room)))
    return stage_of("neurons", width, neurons.products, taken)


def _pruned(weight_NK: Array, x_MK: Array, density: float) -> Array:
    sizes = np.abs(weight_NK) * np.linalg.norm(x_MK, axis=0)
    return np.where(top_rows(sizes, count_of(density, weight_NK.shape[1])), weight_NK, 0)
