"""What a compile takes from a calibration: predictors of neurons, at a point that costs little."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from onnx_passes.ir.facts import Mask
from opencl_kernels.formats import Array
from toolkit.compiler.budget.dip.pruned import Pruned, asked_of, legal, measured, worth_trying
from toolkit.compiler.source import Source
from toolkit.errors import PocketError
from toolkit.offload.legality import BY_MAGNITUDE
from toolkit.predictors.folder import AGAIN, Folder
from toolkit.predictors.layer import Layer, Use

MAX_LOSS = 0.01  # rise in perplexity on held-out text
EXACT = ("all", "gate")  # values of --sparsity that nothing is predicted for


def check_calibration(
    source: Source,
    budgeted: bool,
    calibration: Path | str | None,
    max_loss: str | float | None,
    batch: int = 1,
    sparsity: str | None = None,
) -> tuple[str | None, float | None, str | None]:
    """The folder, the recall of its point that computes least within `max_loss`, its identity.

    No recall, where no point costs so little, or nothing is to be predicted: then all that isn't
    zero is computed.
    """
    if calibration is None:
        if max_loss is not None:
            because, hint = "a calibration knows what predictors miss", "add --calibration DIR"
            raise PocketError("--max-loss goes with --calibration", because, hint)
        return None, None, None
    if max_loss is not None and sparsity in EXACT:
        because, hint = "no neuron is predicted then", "leave one of them out"
        raise PocketError(f"--max-loss does not go with --sparsity {sparsity}", because, hint)
    if not budgeted:
        because = "what is in memory is computed as a whole"
        raise PocketError("--calibration goes with --memory", because, "add --memory 60%")
    if batch > 1:
        because = "several texts need nearly all neurons between them: all are computed"
        raise PocketError(f"--calibration does not go with --batch {batch}", because, "--batch 1")
    folder = _folder_of(source, calibration)
    if sparsity in BY_MAGNITUDE:
        return str(folder.path), None, folder.identity()
    facts, most = folder.finished(), loss_of(max_loss)
    points = [point for point in facts["points"] if point["loss"] <= most]
    best = min(points, key=lambda point: point["density"], default=None)
    if sparsity == "lowrank" and best is None:
        raise _too_dear(facts["points"], most)
    if sparsity in EXACT:
        best = None
    return str(folder.path), None if best is None else best["recall"], folder.identity()


def _folder_of(source: Source, calibration: Path | str) -> Folder:
    """A finished calibration of this model."""
    folder = Folder(Path(calibration).resolve())
    anew = f"pocketcl calibrate {source.onnx_path} --text FILE"
    folder.finished_for(source.sha256, "this one", anew)
    return folder


def pruned_of(
    calibration: str | None,
    sparsity: str | None,
    density: float | None,
    gamma: float | None,
    most: float,
) -> list[Pruned]:
    """What DIP may compute, by a calibration, for that loss: points of which none is slower than
    another one whatever there is memory for. None where nothing is asked of one.

    Raises PocketError where none is cheap enough.
    """
    if calibration is None or sparsity not in BY_MAGNITUDE:
        return []
    asked = asked_of(Folder(Path(calibration)).finished(), str(sparsity), density, gamma)
    return worth_trying(legal(asked, most), most)


def of_auto(calibration: str | None, most: float) -> list[Pruned]:
    """Likewise, where any selector may be taken."""
    if calibration is None:
        return []
    facts = Folder(Path(calibration)).finished()
    return worth_trying(measured(facts, BY_MAGNITUDE[-1]), most)


def _too_dear(points: Sequence[Mapping[str, Any]], most: float) -> PocketError:
    losses = [float(point["loss"]) for point in points]
    because, hint = "its model has no neuron that is zero", "leave --sparsity out"
    if losses:
        because = f"the least that one of its predictors costs is {min(losses):.2%} of perplexity"
        hint = f"--max-loss {100 * min(losses) + 0.01:.2f}%"
    return PocketError(f"no predictor costs at most {most:.2%}", because, hint)


def importances_of(calibration: str | None) -> tuple[Array, ...]:
    """Of the neurons of each network, what they add on average, float32 [F]."""
    if calibration is None:
        return ()
    folder = Folder(Path(calibration))
    count = len(folder.finished()["layers"])
    return tuple(folder.layer(number).importance.astype(np.float32) for number in range(count))


def point_figures(
    calibration: str | None,
    recall: float | None,
    max_loss: str | float | None,
    sparsity: str | None = None,
) -> dict[str, Any]:
    """What a compile tells of the point that it took; none: of no calibration. No loss is allowed
    where nothing was to be predicted."""
    if calibration is None:
        return {}
    if sparsity in BY_MAGNITUDE:
        return {"max_loss": loss_of(max_loss)}
    points = Folder(Path(calibration)).finished()["points"]
    point = next((each for each in points if each["recall"] == recall), None)
    taken = {key: None if point is None else point[key] for key in ("density", "loss")}
    most = None if sparsity in EXACT else loss_of(max_loss)
    return {"max_loss": most, "recall": recall, **taken}


def loss_of(text: str | float | None) -> float:
    """A share of perplexity: 1%, or 0.01."""
    if text is None:
        return MAX_LOSS
    spelled = str(text).strip()
    try:
        found = float(spelled.removesuffix("%")) / (100 if spelled.endswith("%") else 1)
    except ValueError:
        found = -1.0
    if not 0 <= found < 1:
        because = "it is a share of perplexity, from 0 to less than 1"
        raise PocketError(f"--max-loss {spelled:.40} is no loss", because, "write 1%, or 0.01")
    return found


def masks_of(
    calibration: str | None, recall: float | None, identity: str | None
) -> tuple[Mask | None, ...]:
    """Of the networks of a model, in their order; `identity` of the calibration that is meant."""
    if calibration is None or recall is None:
        return ()
    folder = _same(calibration, identity, "predictors")
    count = len(folder.finished()["layers"])
    return tuple(_mask(folder.layer(number), recall) for number in range(count))


def refits_of(
    calibration: str | None, density: float | None, identity: str | None
) -> tuple[Callable[[], Array], ...]:
    """Of the networks of a model, what their last matrices get where so much is computed."""
    if calibration is None or density is None:
        return ()
    folder = _same(calibration, identity, "matrices")
    count = len(folder.finished()["layers"])
    return tuple(cache(partial(folder.refit, number, density)) for number in range(count))


def _same(calibration: str, identity: str | None, what: str) -> Folder:
    """The folder, if it is still the one that a plan has predictors or matrices of."""
    folder = Folder(Path(calibration))
    if folder.identity() != identity:
        because = f"the plan has {what} of the one before"
        raise PocketError(f"{calibration} was made anew", because, "compile the model again")
    return folder


def orders_of(frequencies: Iterable[Array]) -> tuple[Array, ...]:
    """Of the records of some networks: the neurons, most frequent first, ties by their numbers."""
    return tuple(np.argsort(-each, kind="stable") for each in frequencies)


def uses_of(calibration: str | None, recall: float | None) -> tuple[Use, ...]:
    """Of the neurons of each network, as `Layer.use` has it; none without a calibration."""
    if calibration is None:
        return ()
    folder = Folder(Path(calibration))
    count = len(folder.finished()["layers"])
    return tuple(folder.layer(number).use(recall) for number in range(count))


def _mask(layer: Layer, recall: float) -> Mask | None:
    if layer.predicted is None:
        return None
    fitted: Any = layer.predicted.predictor
    if recall not in layer.predicted.thresholds:
        because = f"layer {layer.name} has no threshold for a recall of {recall}"
        raise PocketError("the calibration is damaged", because, AGAIN)
    return Mask(fitted.A, fitted.B, fitted.bias, layer.predicted.thresholds[recall])
