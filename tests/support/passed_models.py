"""Models whose neurons are zero at times, once texts have passed them: for flash_experiments.py.

Windows that compute all tell what layers read, what was active and what stands in the stream; the
same windows again compute what is predicted, by thresholds that stay, follow, or are fitted anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
from predictor_experiments import Following

from onnx_passes.analysis.ffn import Ffn, find_ffns
from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.graph import constant, dim, needed
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.walk import Walk, Window
from toolkit.compiler.calibration.ids import calibration_ids
from toolkit.compiler.lowering.records.ahead import residual_of
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import rewrite_with
from toolkit.compiler.source import load_source
from toolkit.devices.resolve import resolve_device
from toolkit.predictors import predictor
from toolkit.predictors.predictor import Predictor
from toolkit.predictors.second_moment import SecondMoment
from toolkit.predictors.thresholds import Outcome, outcome, threshold_for

SIZE, FITTED, JUDGED = 128, 4096, 2048  # tokens: of a window, to fit to, of each text to judge by
RECALL, EVERY = 0.95, 16  # of predictors; of so many tokens one is computed whole to follow a text
DENSE, FIXED, ONLINE, AGAIN = "dense", "fixed", "online", "again"


@dataclass
class Passed(Window):
    """A window of a text (its number), and how its neurons are chosen."""

    text: int = 0
    way: str = DENSE


@dataclass
class Layer:
    """What went through a layer in windows that compute all: rows that are fitted to, and others
    of the same text."""

    neurons: Neurons
    fitted: dict[str, Array] = field(default_factory=dict)
    judged: dict[str, Array] = field(default_factory=dict)
    predictor: Predictor | None = None
    gamma: Array | None = None  # of the RMS norm in front of it, where it is one


@dataclass
class Model:
    """A model that windows have passed: its layers, outcomes by (text, way), and perplexities."""

    layers: list[Layer] = field(default_factory=list)
    outcomes: dict[tuple[int, str], list[Outcome]] = field(default_factory=dict)
    losses: dict[tuple[int, str], float] = field(default_factory=dict)


def graph_of(path: Path) -> ir.Model:
    """A model after all passes, with its weights as they are."""
    source = load_source(path)
    return rewrite_with(source, choose(source, resolve_device(None, None), weights="f32"))


def passed(path: Path, texts: Sequence[Path]) -> Model:
    """A model whose neurons are zero at times, once windows of two texts have passed it."""
    model = graph_of(path)
    ffns, found = find_ffns(model)[0], Model()
    windows = list(_windows(path, model, texts))
    walk = Walk(model, ffns, windows)
    for level, ffn in enumerate(ffns):
        layer = Layer(walk.reach(level), gamma=_gamma(ffn))
        rows = [x for _, x in walk.inputs(level)]
        for name, values in _values(walk, level, ffn, layer.neurons, rows):
            dense = [(w, v) for w, v in zip(windows, values, strict=True) if w.way == DENSE]
            layer.fitted[name] = np.concatenate([v for w, v in dense if not w.held_out])
            of_first = [v for w, v in dense if w.held_out and w.text == 0]
            layer.judged[name] = np.concatenate(of_first)
        layer.predictor = _fit(layer)
        found.layers.append(layer)
        given = Given(layer, rows, windows)
        walk.give(level, given)
        for key, told in given.outcomes():
            found.outcomes.setdefault(key, []).append(told)
    sums: dict[tuple[int, str], list[float]] = {}
    for window, losses in walk.losses():
        assert isinstance(window, Passed)
        sums.setdefault((window.text, window.way), []).extend(losses.tolist())
    found.losses = {key: float(np.exp(np.mean(each))) for key, each in sums.items()}
    return found


def _windows(path: Path, model: ir.Model, texts: Sequence[Path]) -> Iterator[Passed]:
    logits = next(v for v in model.graph.outputs if v.name == roles_of(model).logits)
    source, vocabulary = load_source(path), dim(logits, -1) or 1
    for number, text in enumerate(texts):
        ids = calibration_ids(source, text, vocabulary, 1 << 20)[0]
        middle = len(ids) // 2
        for at in range(0, FITTED if number == 0 else 0, SIZE):
            yield Passed(ids[at : at + SIZE])
        for way in (DENSE, FIXED, ONLINE, AGAIN):
            for at in range(middle, middle + JUDGED, SIZE):
                yield Passed(ids[at : at + SIZE], True, text=number, way=way)


def _values(
    walk: Walk, level: int, ffn: Ffn, neurons: Neurons, rows: list[Array]
) -> Iterator[tuple[str, list[Array]]]:
    """By name and window: the layer's input, its hidden units, and the stream that it is the norm
    of, where a layer behind it adds to that."""
    yield "x", rows
    yield "h", [neurons.hidden(x) for x in rows]
    norm = ffn.x.producer()
    stream = residual_of(ffn.x) or (norm.inputs[0] if norm is not None else None)
    known = None if stream is None else walk.known(str(stream.name))
    if known is not None:
        yield "stream", np.split(known, np.cumsum([len(x) for x in rows])[:-1])


def _gamma(ffn: Ffn) -> Array | None:
    norm = ffn.x.producer()
    if norm is None or residual_of(ffn.x) is None:
        return None
    return np.asarray(constant(needed(norm, len(norm.inputs) - 1)), np.float32)


def _fit(layer: Layer) -> Predictor:
    weight, bias = layer.neurons.deciding
    moment = SecondMoment(weight.shape[1])
    moment.add(layer.fitted["x"])
    parts = 2 if layer.neurons.gate is None else 3
    active = layer.fitted["h"] != 0
    return predictor.fit(predictor.Layer(weight, bias, moment, layer.fitted["x"], active, parts))


class Given:
    """What windows get of a layer, each in its own way, and what that did there."""

    def __init__(self, layer: Layer, rows: list[Array], windows: Sequence[Passed]) -> None:
        """`rows` are the inputs of each window."""
        assert layer.predictor is not None
        self._neurons, self._scores = layer.neurons, layer.predictor.scores
        self._fixed = layer.predictor.threshold
        of_active = self._scores(layer.fitted["x"])[layer.fitted["h"] != 0]
        step = float(of_active.std())
        self._again, self._following = dict[int, float](), dict[int, Following]()
        for text in sorted({window.text for window in windows}):
            pairs = zip(windows, rows, strict=True)
            x = np.concatenate([x for w, x in pairs if (w.text, w.way) == (text, AGAIN)])
            active = self._neurons.hidden(x) != 0
            self._again[text] = threshold_for(self._scores(x), active, RECALL)
            self._following[text] = Following(self._fixed, step, RECALL, EVERY)
        self._masks: dict[tuple[int, str], list[tuple[Array, Array]]] = {}

    def __call__(self, window: Window, x: Array) -> Array:
        """What comes of a window's inputs [M, D]."""
        assert isinstance(window, Passed)
        h = self._neurons.hidden(x)
        if window.way == DENSE:
            return self._neurons.output(h)
        mask = self._mask(window, self._scores(x), h != 0)
        self._masks.setdefault((window.text, window.way), []).append((mask, h != 0))
        return self._neurons.output(h * mask)

    def outcomes(self) -> Iterator[tuple[tuple[int, str], Outcome]]:
        """By text and way: of what was computed, tokens that were computed whole among them."""
        for key, each in self._masks.items():
            masks, active = (np.concatenate(arrays) for arrays in zip(*each, strict=True))
            yield key, outcome(masks.astype(np.float32), active, 0.5)

    def _mask(self, window: Passed, scores: Array, active: Array) -> Array:
        if window.way == ONLINE:
            return self._following[window.text].mask(scores, active)
        least = self._fixed if window.way == FIXED else self._again[window.text]
        return np.asarray(scores > np.float32(least))
