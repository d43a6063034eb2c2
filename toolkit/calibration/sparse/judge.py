"""Windows of a text go through a model once for each case, layer by layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.sparse.case import Case, Judged, Stage
from toolkit.calibration.sparse.methods import METHODS, Method
from toolkit.calibration.sparse.refit import refitted
from toolkit.calibration.walk import Walk, Window

FITTED = 4096  # tokens that methods are fitted to, at most
Tell = Callable[[str], None]
Watch = Callable[[Judged, int, Stage], None]
Make = Callable[[Case], Method]


class Methods(Protocol):
    """Who makes the methods of a layer."""

    def layer(self, level: int, neurons: Neurons, walk: Walk) -> Make:
        """For its cases; `walk` has the inputs of the layer's network."""


def judge(
    model: ir.Model,
    ffns: Sequence[Ffn],
    windows: Sequence[Window],
    methods: Methods,
    watch: Watch = lambda *_: None,
    tell: Tell = lambda _: None,
) -> None:
    """Judged windows get nats, and what they took and missed; others are computed as a whole.

    watch  is shown each window's table of each layer
    """
    walk = Walk(model, ffns, windows)
    for level in range(len(ffns)):
        tell(f"layer {level + 1} of {len(ffns)}")
        neurons = walk.reach(level)
        walk.give(level, _giver(level, neurons, methods.layer(level, neurons, walk), watch))
    for window, nats in walk.losses():
        if isinstance(window, Judged):
            window.nats = nats


def _giver(
    level: int, neurons: Neurons, make: Make, watch: Watch
) -> Callable[[Window, Array], Array]:
    def give(window: Window, x_MD: Array) -> Array:
        if not isinstance(window, Judged):
            return neurons.output(neurons.hidden(x_MD))
        passed = make(window.case)(x_MD, window.case)
        for stage in passed.stages:
            window.note(stage)
            watch(window, level, stage)
        return passed.y_TD

    return give


class Fitted:
    """Methods that are fitted to windows which aren't held out: to those that are computed as a
    whole, or where a case is refitted to those on their way under a case like it."""

    def layer(self, level: int, neurons: Neurons, walk: Walk) -> Make:
        """Each is made once."""
        seen = defaultdict[float | None, list[Array]](list)  # by density, of what is refitted
        for window, x in walk.inputs(level):
            if not window.held_out:
                seen[window.case.density if isinstance(window, Judged) else None].append(x)
        whole = np.concatenate(seen[None])[:FITTED]
        made = dict[tuple[type[Method], float, bool], Method]()

        def make(case: Case) -> Method:
            kind = METHODS[case.sparsity]
            key = kind, case.of_layer(level), case.refit
            if key not in made and case.refit:
                made[key] = refitted(neurons, seen[case.density], case.density)
            elif key not in made:
                made[key] = kind(neurons, whole, key[1])
            return made[key]

        return make


def windows_of(
    fitted: Sequence[list[int]], judged: Sequence[list[int]], cases: Sequence[Case]
) -> tuple[list[Window], list[list[Judged]]]:
    """All windows on their way, and of each case those that are judged."""
    found = [[Judged(ids, case=case) for ids in judged] for case in cases]
    refits = {case.density for case in cases if case.refit}
    again = [Judged(ids, False, case=Case("dip", d, refit=True)) for d in refits for ids in fitted]
    return [*map(Window, fitted), *again, *(window for each in found for window in each)], found
