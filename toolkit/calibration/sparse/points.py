"""What DIP costs at its operating points: held-out windows, once more for each of them.

They go through the model in rounds, each of as many windows as memory was taken for before. A round
that is done stays in the calibration's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.case import Case, Judged
from toolkit.calibration.sparse.dip import Dip
from toolkit.calibration.sparse.judge import Make, judge
from toolkit.calibration.walk import Walk
from toolkit.compiler.budget.ffn_kind import kind_of
from toolkit.offload.legality import CALIBRATED, verdict
from toolkit.predictors.folder import Folder
from toolkit.predictors.layer import Layer, Sizes, Taken

DENSITIES, GAMMAS = (0.5, 0.6, 0.7, 0.8, 0.9), (1.0, 0.5, 0.2, 0.1)
SHARES = (0.25, 0.5, 0.75)  # of networks in memory: what a gamma costs hangs on it
JUDGED = 1024  # held-out tokens, at most
ROUND = 4096  # tokens that a round has at least: each opens the model anew
TAKEN = 2048  # tokens that say how often something is taken
SIZED = 48  # tokens of which magnitudes are kept: reads are predicted by what they choose
HALF_MOST = 65504.0  # the greatest half


@dataclass(frozen=True)
class Points:
    """Of a model whose layers are in a folder.

    dense   nats of each held-out window with all that there is, in their order
    tokens  that may be on their way at once
    """

    model: ir.Model
    ffns: Sequence[Ffn]
    folder: Folder
    dense: Sequence[tuple[list[int], Array]]
    tokens: int
    tell: Callable[[str], None]

    def measure(self) -> list[dict[str, Any]]:
        """All of them; none where DIP is not what such networks are for."""
        if not all(is_pruned(kind_of(ffn)) for ffn in self.ffns):
            return []
        windows, found = self.windows(), list[dict[str, Any]]()
        size = max(1, max(ROUND, self.tokens) // sum(len(ids) for ids, _ in windows))
        rounds = [CASES[at : at + size] for at in range(0, len(CASES), size)]
        for number, cases in enumerate(rounds):
            self.tell(f"what DIP costs: round {number + 1} of {len(rounds)}")
            found += self._round(number, cases, windows)
        return found

    def windows(self) -> Sequence[tuple[list[int], Array]]:
        """Of the held-out ones the first, one at least."""
        ends = np.cumsum([len(ids) for ids, _ in self.dense])
        return self.dense[: max(1, int((ends <= JUDGED).sum()))]

    def _round(
        self, number: int, cases: Sequence[Case], windows: Sequence[tuple[list[int], Array]]
    ) -> list[dict[str, Any]]:
        done = self.folder.round(number)
        asked = [told(case) for case in cases]
        if [{key: row.get(key) for key in asked[0]} for row in done] == asked:
            return done
        judged = [[Judged(ids, case=case) for ids, _ in windows] for case in cases]
        flat = [window for each in judged for window in each]
        judge(self.model, self.ffns, flat, _Known(self.folder))
        dense = float(np.mean(np.concatenate([nats for _, nats in windows])))
        found = [row | cost(each, dense) for row, each in zip(asked, judged, strict=True)]
        self.folder.add_round(number, found)
        return found


def is_pruned(kind: str) -> bool:
    """Whether DIP is what a kind of network is for: what is zero is known better otherwise."""
    return verdict(kind, "dip") is CALIBRATED


def is_complete(layer: Layer) -> bool:
    """Whether a layer knows all that points need: what older versions wrote may not."""
    known = layer.sizes is not None and set(DENSITIES) <= set(layer.taken)
    return not is_pruned(layer.kind) or known


def taken_of(neurons: Neurons, x_MD: Array) -> Mapping[float, Taken]:
    """By density, how often these tokens take each input and each hidden unit."""
    return {density: Dip(neurons, x_MD[:TAKEN], density).taken for density in DENSITIES}


def sizes_of(neurons: Neurons, x_MD: Array) -> tuple[Array, Sizes]:
    """Magnitudes by which some of these tokens choose, and the others.

    What units are hangs little on the density by which inputs are chosen: it is the middle one.
    """
    count = max(1, min(SIZED, len(x_MD) // 8))
    x = x_MD[-count:]
    h = neurons.hidden(x * Dip(neurons, x, DENSITIES[len(DENSITIES) // 2]).masked(x)[0])
    inputs, units = (np.minimum(np.abs(each), HALF_MOST).astype(np.float16) for each in (x, h))
    return x_MD[: len(x_MD) - count], Sizes(inputs, units)


def _cases() -> list[Case]:
    """Without a preference for what is in memory once: its loss is the same with any memory."""
    found = [Case("dip", density, memory=SHARES[1]) for density in DENSITIES]
    for gamma in GAMMAS[1:]:
        found += [Case("dip-ca", d, gamma, share) for d in DENSITIES for share in SHARES]
    return found


CASES = _cases()


@dataclass(frozen=True)
class _Known:
    """Methods by what the folder's layers know."""

    folder: Folder

    def layer(self, level: int, neurons: Neurons, walk: Walk) -> Make:
        layer: Layer = self.folder.layer(level)

        @cache
        def of(density: float) -> Dip:
            return Dip.of(neurons, density, layer.taken[density])

        return lambda case: of(case.density)


def told(case: Case) -> dict[str, Any]:
    """What a row says of the case that it is of."""
    names = ("sparsity", "density", "gamma", "memory")
    values = {name: getattr(case, name) for name in names}
    return {"selector": values.pop("sparsity"), **values}


def cost(windows: Sequence[Judged], dense: float) -> dict[str, float]:
    """The rise in perplexity, and the share of what is taken that isn't in memory."""
    nats = np.concatenate([window.nats for window in windows if window.nats is not None])
    taken = sum(window.taken for window in windows)
    return {
        "loss": round(float(np.expm1(nats.mean() - dense)), 5),
        "missed": round(sum(window.missed for window in windows) / taken, 5) if taken else 0.0,
    }
