"""What DIP is to compute of networks, as a plan's options say, or a calibration lets it choose."""

from __future__ import annotations

from dataclasses import dataclass

from onnx_passes.ir.facts import Density
from toolkit.compiler.budget.dip.pruned import Pruned, taken_by
from toolkit.compiler.calibrated import pruned_of
from toolkit.compiler.options import Options
from toolkit.predictors.layer import Use


@dataclass(frozen=True)
class Thinned:
    """As Goal has it (budget/fit.py); of no network, where something else selects."""

    densities: tuple[Density, ...] = ()
    taken: tuple[Use, ...] = ()
    points: tuple[Pruned, ...] = ()
    max_loss: float = 0.0


def thinned_of(options: Options) -> Thinned:
    """Of a calibration all points that may be chosen; the graph is made for one in the middle."""
    if options.calibration is None:
        return Thinned(options.facts.densities)
    most = options.max_loss or 0.0
    asked = options.density, options.gamma
    points = pruned_of(options.calibration, options.sparsity, *asked, most)
    if not points:
        return Thinned()
    middle = points[len(points) // 2]
    densities = (Density(middle.density, middle.gamma),)
    return Thinned(densities, taken_by(options.calibration, middle.density), tuple(points), most)
