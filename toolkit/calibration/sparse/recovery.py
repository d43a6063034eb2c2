"""What DIP costs with last matrices that are fitted to what it leaves: kept where it costs less.

A plan has one last matrix, which prompts are read with as a whole: so a point's loss is that of
tokens that are computed in part, or of the whole networks with that matrix, whichever is greater.
Memory: the weights of one layer and its fit, and the hidden states of the windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn
from onnx_passes.ir.graph import needed
from onnx_passes.weights.quantized import quantized
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.case import Case, Judged, Passed
from toolkit.calibration.sparse.dip import Dip
from toolkit.calibration.sparse.judge import Make, judge
from toolkit.calibration.sparse.methods import Method
from toolkit.calibration.sparse.points import GAMMAS, SHARES, cost, told
from toolkit.calibration.sparse.refit import added
from toolkit.calibration.walk import Walk
from toolkit.predictors.folder import Folder

FITTED = 4096  # tokens that matrices are fitted to, at most


@dataclass(frozen=True)
class Recovery:
    """Of a model whose layers are in a folder.

    plain   rows of DIP with the matrices as they are (points.py)
    fitted  ids of windows; `judged`: others, with their nats with all that there is
    """

    model: ir.Model
    ffns: Sequence[Ffn]
    folder: Folder
    plain: Sequence[Mapping[str, Any]]
    fitted: Sequence[list[int]]
    judged: Sequence[tuple[list[int], Array]]
    tell: Callable[[str], None]

    def measure(self) -> list[dict[str, Any]]:
        """Rows of densities at which the fit costs less; the folder keeps what it adds there.

        Weights that came in codes stay as they are.
        """
        if any(quantized(needed(ffn.down, 1)) is not None for ffn in self.ffns):
            return []
        found, losses = [], {row["density"]: row["loss"] for row in self.plain if row["gamma"] == 1}
        for density in losses:
            self.tell(f"what DIP of {density:g} costs with refitted matrices")
            [row] = self._rows([Case("dip", density, memory=SHARES[1], refit=True)], True)
            if row["loss"] >= losses[density]:
                self.folder.drop_refits(density)
                continue
            cases = [
                Case("dip-ca", density, gamma, share, refit=True)
                for gamma in GAMMAS[1:]
                for share in SHARES
            ]
            found += [row, *self._rows(cases, False, row["whole_loss"])]
        return found

    def refits(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Of the densities of such rows the hashes of files, layer by layer."""
        numbers = range(len(self.ffns))
        return [
            {"density": d, "sha256": [self.folder.refit_digest(n, d) for n in numbers]}
            for d in dict.fromkeys(row["density"] for row in rows)
        ]

    def _rows(
        self, cases: Sequence[Case], anew: bool, whole: float | None = None
    ) -> list[dict[str, Any]]:
        """`anew`: matrices are fitted, and the whole networks are judged with them; else `whole`
        is what these cost."""
        every = [*cases, Case("all", cases[0].density, refit=True)] if anew else [*cases]
        judged = [[Judged(ids, case=case) for ids, _ in self.judged] for case in every]
        fitted = [Judged(ids, False, case=cases[0]) for ids in self._first() if anew]
        windows = [*fitted, *(window for each in judged for window in each)]
        judge(self.model, self.ffns, windows, _Refitted(self.folder, cases[0].density, anew))
        dense = float(np.mean(np.concatenate([nats for _, nats in self.judged])))
        costs = [cost(each, dense) for each in judged]
        least = costs.pop()["loss"] if whole is None else whole
        return [
            {**told(case), **each, "loss": max(each["loss"], least), "whole_loss": least}
            for case, each in zip(cases, costs, strict=True)
        ]

    def _first(self) -> Sequence[list[int]]:
        ends = np.cumsum([len(ids) for ids in self.fitted])
        return self.fitted[: max(1, int((ends <= FITTED).sum()))]


@dataclass(frozen=True)
class _Refitted:
    """Methods of one density with what the folder has, which is made where it is `anew`."""

    folder: Folder
    density: float
    anew: bool

    def layer(self, level: int, neurons: Neurons, walk: Walk) -> Make:
        taken = self.folder.layer(level).taken[self.density]
        if self.anew:
            inputs = [x for window, x in walk.inputs(level) if not window.held_out]
            fit = added(neurons, Dip.of(neurons, self.density, taken), inputs)
            self.folder.add_refit(level, self.density, fit.astype(np.float16))
        more = np.asarray(self.folder.refit(level, self.density), np.float32)
        again = replace(neurons, down=neurons.down + more)
        dip = Dip.of(again, self.density, taken)

        def whole(x_TD: Array, case: Case) -> Passed:
            return Passed(again.output(again.hidden(x_TD)), ())

        made: dict[str, Method] = {"all": whole}
        return lambda case: made.get(case.sparsity, dip)
