"""Windows of a text go through a model layer by layer, with some of its neurons left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import Ffn
from onnx_passes.analysis.roles import roles_of
from opencl_kernels.formats import Array
from toolkit.calibration.neurons import Neurons
from toolkit.calibration.segments import Cut, Segments, Values
from toolkit.compiler.calibration.feeds import Feeds

See = Callable[[Array, Array], None]  # inputs [M, D] of a layer's FFN, and what they became [M, F]
Give = Callable[["Window", Array], Array]  # what a window's inputs [M, D] of a layer's FFN become


class Predicts(Protocol):
    """What says which neurons of a layer are computed."""

    def mask(self, x_MD: Array, recall: float) -> Array:
        """Bool [M, F], of the layer's inputs."""


@dataclass
class Window:
    """Tokens, and what is known of them after the layers so far.

    held_out   nothing is fitted to it: it is there for its loss
    recall     of the predictor that says which neurons are computed; None: all are
    predicted  neurons that were computed so far, of so many
    """

    ids: list[int]
    held_out: bool = False
    recall: float | None = None
    predicted: int = 0
    neurons: int = 0

    @property
    def density(self) -> float:
        """Which share of neurons was computed."""
        return self.predicted / self.neurons if self.neurons else 1.0


class Walk:
    """Some windows on their way through a model after all passes."""

    def __init__(self, model: ir.Model, ffns: Sequence[Ffn], windows: Sequence[Window]) -> None:
        """Before the first layer."""
        logits = next(v for v in model.graph.outputs if v.name == roles_of(model).logits)
        cuts = [Cut(*_ends(ffn)) for ffn in ffns]
        self._segments, self._windows, self._ffns = Segments(model, cuts, logits), windows, ffns
        self._logits = str(logits.name)
        self._values = list(_begun(Feeds.declared_by(model), self._segments, windows))

    def reach(self, level: int) -> Neurons:
        """Compute the inputs of a layer's FFN, which is given."""
        with self._segments.opened(level) as run:
            for values in self._values:
                run(values)
        return Neurons.of(self._ffns[level])

    def see(self, level: int, neurons: Neurons, see: See) -> None:
        """Show what goes through a layer in windows that it is fitted to."""
        for window, x in self.inputs(level):
            if not window.held_out:
                see(x, neurons.hidden(x))

    def inputs(self, level: int) -> Iterator[tuple[Window, Array]]:
        """What a layer's FFN gets in each window [M, D], once it is reached."""
        for window, values in zip(self._windows, self._values, strict=True):
            yield window, _rows(values[str(self._ffns[level].x.name)])

    def known(self, name: str) -> Array | None:
        """Another value of all windows, one behind the other, [M, D]; None where it isn't kept."""
        if any(name not in values for values in self._values):
            return None
        return np.concatenate([_rows(values[name]) for values in self._values])

    def leave(self, level: int, neurons: Neurons, predicted: Predicts | None) -> None:
        """Compute what a layer's FFN gives, in windows with a recall by what is predicted."""

        def give(window: Window, x_MD: Array) -> Array:
            h = neurons.hidden(x_MD)
            window.neurons += h.size
            if window.recall is None or predicted is None:
                window.predicted += h.size
                return neurons.output(h)
            mask = predicted.mask(x_MD, window.recall)
            window.predicted += int(mask.sum())
            return neurons.output(h * mask)

        self.give(level, give)

    def give(self, level: int, give: Give) -> None:
        """Let somebody compute what a layer's FFN gives, window by window."""
        x_name, y_name = (str(v.name) for v in _ends(self._ffns[level]))
        kept = self._segments.read_after(level, x_name)
        for window, values in zip(self._windows, self._values, strict=True):
            x = values[x_name]
            if not kept:
                del values[x_name]
            values[y_name] = give(window, _rows(x)).reshape(x.shape).astype(x.dtype)

    def losses(self) -> Iterator[tuple[Window, Array]]:
        """After the last layer: nats of each token of the held-out windows but the first."""
        with self._segments.opened(len(self._ffns)) as run:
            for window, values in zip(self._windows, self._values, strict=True):
                if window.held_out:
                    run(values)
                    yield window, _losses(_rows(values.pop(self._logits)), window.ids)


def _ends(ffn: Ffn) -> tuple[ir.Value, ir.Value]:
    return ffn.x, ffn.down.outputs[0]


def _begun(feeds: Feeds, segments: Segments, windows: Sequence[Window]) -> Iterator[Values]:
    """Windows of one length share what isn't their tokens: empty caches are large."""
    wanted = {name for segment in segments.segments for name in segment.inputs}
    alike: dict[int, Values] = {}
    for window in windows:
        found = alike.setdefault(len(window.ids), feeds.begin(window.ids))
        tokens = feeds.counted(feeds.roles.tokens, window.ids, 0)
        each = {**found, feeds.roles.tokens: tokens}
        yield {name: value for name, value in each.items() if name in wanted}


def _rows(values: Array) -> Array:
    return values.reshape(-1, values.shape[-1])


def _losses(logits_MV: Array, ids: list[int]) -> Array:
    rows = logits_MV[:-1].astype(np.float64)
    rows = rows - rows.max(axis=1, keepdims=True)
    chosen = rows[np.arange(len(rows)), ids[1:]]
    return np.asarray(np.log(np.exp(rows).sum(axis=1)) - chosen)
