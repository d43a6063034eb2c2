"""Windows of a text go through a model once for each case, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.case import Case, Judged, Stage
from toolkit.calibration.sparse.methods import METHODS, Method
from toolkit.calibration.walk import Walk, Window

FITTED = 4096  # tokens that methods are fitted to, at most
Tell = Callable[[str], None]
Watch = Callable[[Judged, int, Stage], None]


def judge(
    model: ir.Model,
    ffns: Sequence[Ffn],
    fitted: Iterable[list[int]],
    judged: Sequence[list[int]],
    cases: Sequence[Case],
    watch: Watch = lambda *_: None,
    tell: Tell = lambda _: None,
) -> list[list[Judged]]:
    """Of each case its windows: their nats, and what they took and missed.

    fitted  ids of windows that say what is frequent, and what predictors learn; no loss is theirs
    watch   is shown each window's table of each layer
    """
    windows = [[Judged(ids, case=case) for ids in judged] for case in cases]
    walk = Walk(model, ffns, [*map(Window, fitted), *(w for each in windows for w in each)])
    for level in range(len(ffns)):
        tell(f"layer {level + 1} of {len(ffns)}")
        neurons = walk.reach(level)
        layer = _Layer(neurons, _inputs(walk, level, neurons))

        def give(window: Window, x_MD: Array, level: int = level, layer: _Layer = layer) -> Array:
            if not isinstance(window, Judged):
                return layer.neurons.output(layer.neurons.hidden(x_MD))
            passed = layer.method(window.case)(x_MD, window.case)
            for stage in passed.stages:
                window.note(stage)
                watch(window, level, stage)
            return passed.y_TD

        walk.give(level, give)
    for window, nats in walk.losses():
        if isinstance(window, Judged):
            window.nats = nats
    return windows


class _Layer:
    """Methods of one layer, each fitted once."""

    def __init__(self, neurons: Neurons, x_MD: Array) -> None:
        self.neurons, self._x = neurons, x_MD
        self._methods = dict[tuple[type[Method], float], Method]()

    def method(self, case: Case) -> Method:
        kind = METHODS[case.sparsity]
        key = kind, case.density
        if key not in self._methods:
            self._methods[key] = kind(self.neurons, self._x, case.density)
        return self._methods[key]


def _inputs(walk: Walk, level: int, neurons: Neurons) -> Array:
    """Of the fitted windows, as many as are looked at."""
    seen: list[Array] = []
    walk.see(level, neurons, lambda x, _: seen.append(x))
    return np.concatenate(seen)[:FITTED]
