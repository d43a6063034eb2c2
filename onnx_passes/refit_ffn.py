"""y = h D of a feed-forward network  ->  y = h (D + R): its last matrix as a calibration refits it.

Where a network is computed in part, R makes up for what is left out, by least squares
(toolkit/calibration/sparse/refit.py). It is added as weights are read, some rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.ffn import find_ffns
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import GraphError, needed
from onnx_passes.ir.rules import Outcome
from onnx_passes.weights.lazy import Lazy, part
from opencl_kernels.formats import Array


class Refitted(Lazy):
    """A matrix with another one added to it."""

    def __init__(self, source: ir.TensorProtocol, added: Callable[[], Array]) -> None:
        rows, columns = source.shape.numpy()
        super().__init__([source], source.dtype, (rows, columns), source.name or "")
        self._added = added

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""
        more = self._added()
        more = more[first:stop] if axis == 0 else more[:, first:stop]
        found = part(self.sources[0], axis, first, stop)
        return np.asarray((found.astype(np.float32) + more).astype(found.dtype))


def refit_ffn(model: ir.Model) -> Outcome:
    """Refit the networks that a compile has matrices for."""
    refits = Facts.of(model).refits
    if not refits:
        return Outcome(0)
    found, misses = find_ffns(model)
    if len(found) != len(refits):
        what = f"the calibration is of {len(refits)} feed-forward networks"
        raise GraphError(what, f"the model has {len(found)}", "calibrate it again")
    for ffn, added in zip(found, refits, strict=True):
        weight = needed(ffn.down, 1)
        tensor, sizes = weight.const_value, added().shape
        assert tensor is not None
        if tuple(tensor.shape.numpy()) != sizes:
            what = f"the calibration has a matrix of {sizes[0]} x {sizes[1]}"
            because = f"the network has {ffn.width} neurons of {ffn.depth} inputs"
            raise GraphError(what, because, "calibrate it again")
        weight.const_value = Refitted(tensor, added)
    return Outcome(len(refits), tuple(misses))
