"""Whether a merged decoder's branch for a cached text may do the work of the other one, too.

A plan reads a prompt in pieces, each after what is cached. An old exporter wrote that branch from a
single token, without the mask that keeps several from seeing each other's future: then it answers
otherwise. The graph doesn't say it, so ONNX Runtime computes the same text by both.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.choose_branches import noted_flag
from toolkit.compiler.source import Source
from toolkit.errors import PocketError
from toolkit.onnx_runtime import Refused, numpy_type, run_session

Arrays = dict[str, npt.NDArray[Any]]
_IDS = np.arange(1, 6)[None]  # any text of some tokens
_LARGEST = 3e-2  # NMSE: activations in int8 are rounded by the range that they have in a piece
_HINT = "export it with a newer optimum: optimum-cli export onnx --task text-generation-with-past"


def check_branches(source: Source, model: ir.Model) -> None:
    """Raise unless both branches of a merged model agree; `model` is the same after the passes."""
    path = source.onnx_path
    try:
        decoder = _Merged(source, model)
    except Refused as error:
        what = f"the two branches of {path} cannot be compared"
        raise PocketError(what, error.because, _HINT) from error
    try:
        whole, _ = decoder.run(_IDS, 0, {})
        _, cached = decoder.run(_IDS[:, :1], 0, {})
        rest, _ = decoder.run(_IDS[:, 1:], 1, cached)
    except Refused as error:
        raise _one_at_a_time(path, error.because) from error
    wanted = whole[:, -rest.shape[1] :]
    nmse = float(np.square(rest - wanted).sum() / max(np.square(wanted).sum(), 1e-30))
    if not nmse < _LARGEST:
        raise _one_at_a_time(path, f"a text in two pieces gives other logits, NMSE {nmse:.0e}")


class _Merged:
    """The model in ONNX Runtime, with its cache in the caller's hands."""

    def __init__(self, source: Source, model: ir.Model) -> None:
        self.session, self.roles, self.flag = source.session(), roles_of(model), noted_flag(model)

    def run(self, ids: npt.NDArray[Any], past: int, cached: Arrays) -> tuple[Any, Arrays]:
        """Logits in float32, and the caches by the names of the inputs that take them."""
        feeds = {i.name: self._feed(i, ids, past, cached) for i in self.session.get_inputs()}
        names = [output.name for output in self.session.get_outputs()]
        values = dict(zip(names, run_session(self.session, feeds), strict=True))
        caches = {given: values[made] for given, made in self.roles.cache}
        return np.asarray(values[self.roles.logits], np.float32), caches

    def _feed(self, given: Any, ids: npt.NDArray[Any], past: int, cached: Arrays) -> Any:
        total = past + ids.shape[1]
        empty = [d if isinstance(d, int) else int(axis == 0) for axis, d in enumerate(given.shape)]
        known: Mapping[str | None, npt.ArrayLike] = {
            self.roles.tokens: ids,
            self.roles.positions: np.arange(past, total)[None],
            self.roles.places: np.arange(past, total),
            self.roles.mask: np.ones((1, total)),
            self.flag: np.full([1] * len(given.shape), past > 0),
        }
        value = cached.get(given.name, known.get(given.name, np.zeros(empty)))
        return np.asarray(value, numpy_type(given.type))


def _one_at_a_time(path: Path, because: str) -> PocketError:
    what = f"{path} takes one token at a time once something is cached"
    return PocketError(what, because, _HINT)
