"""What is known of a layer's FFN once its inputs for a text have passed, and its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from opencl_kernels.formats import Array, Quantized
from toolkit.files import replacing
from toolkit.predictors import thresholds
from toolkit.predictors.predictor import Predictor


@dataclass(frozen=True)
class Use:
    """How neurons that are computed are needed.

    frequency  float32 [F]: in which share of tokens
    recurring  float32 [n, 3]: toolkit/calibration/recurrence.py; None: not known
    replayed   bool [T, F]: by some tokens that frequency and order don't come from; None: not known
    sizes      float16 [T, F]: magnitudes by which such tokens choose, in part by what lies in
               memory; None: not known, or they don't
    shares     how much of them may lie in memory, for what is computed without the others costs too
               much elsewhere: (least, most), ascending
    nonzero    the share of what is computed that isn't zero
    """

    frequency: Array
    recurring: Array | None = None
    replayed: Array | None = None
    sizes: Array | None = None
    shares: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    nonzero: float = 1.0

    def of(self, neurons: Array) -> Use:
        """The same of these neurons, in this order."""
        replayed = None if self.replayed is None else self.replayed[:, neurons]
        sizes = None if self.sizes is None else self.sizes[:, neurons]
        facts = (replayed, sizes, self.shares, self.nonzero)
        return Use(self.frequency[neurons], self.recurring, *facts)


@dataclass(frozen=True)
class Pointed:
    """A predictor; by recall its threshold, and what is known of the neurons that it predicts."""

    predictor: Predictor
    thresholds: Mapping[float, float]
    uses: Mapping[float, Use]

    def mask(self, x_MD: Array, recall: float) -> Array:
        """Which neurons are predicted, bool [M, F]."""
        return self.predictor.scores(x_MD) > np.float32(self.thresholds[recall])


@dataclass(frozen=True)
class Taken:
    """In which share of tokens DIP takes an input, float32 [D], and a hidden unit, float32 [F]."""

    inputs: Array
    units: Array


@dataclass(frozen=True)
class Sizes:
    """Magnitudes by which some tokens choose that frequencies don't come from, float16.

    inputs  [T, D]; `units` [T, F], of a network that is computed in part
    """

    inputs: Array
    units: Array


@dataclass(frozen=True)
class Layer:
    """A layer of a calibration.

    frequency   float32 [F]: in which share of tokens a neuron isn't zero
    importance  float32 [F]: the mean length of what it adds
    recurring   float32 [n, 3]: toolkit/calibration/recurrence.py; None: not known
    replayed    bool [T, F]: which neurons aren't zero by some tokens; None: not known
    taken       by density what is taken for its magnitude; none where no unit is left out so
    sizes       likewise, of some tokens; None: not known
    """

    name: str
    kind: str
    frequency: Array
    importance: Array
    predicted: Pointed | None
    recurring: Array | None = None
    replayed: Array | None = None
    taken: Mapping[float, Taken] = field(default_factory=dict)
    sizes: Sizes | None = None

    def use(self, recall: float | None) -> Use:
        """Of neurons that are computed; None: that aren't zero."""
        if recall is None or self.predicted is None:
            return Use(self.frequency, self.recurring, self.replayed)
        use = self.predicted.uses[recall]
        found = recall * float(self.frequency.sum()) / max(1e-30, float(use.frequency.sum()))
        return replace(use, nonzero=min(1.0, found))

    def figures(self) -> dict[str, Any]:
        """For people and `--json`."""
        known: dict[str, Any] = {
            "name": self.name,
            "kind": self.kind,
            "neurons": len(self.frequency),
            "active": round(float(self.frequency.mean()), 4),
        }
        if self.predicted is not None:
            fitted = self.predicted.predictor
            known["rank"] = fitted.rank
            known["false_negatives"] = round(1 - fitted.outcome.recall, 4)
            known["predicted_over_true"] = round(fitted.outcome.predicted_over_true, 4)
        return known

    def save(self, file: Path) -> None:
        """Write it, complete or not at all."""
        arrays: dict[str, Any] = {
            "name": np.array(self.name),
            "kind": np.array(self.kind),
            "frequency": self.frequency,
            "importance": self.importance,
        }
        if self.recurring is not None:
            arrays["recurring"] = self.recurring
        if self.replayed is not None:
            arrays["replayed"] = np.packbits(self.replayed, axis=1)
        if self.predicted is not None:
            arrays |= _predicted(self.predicted)
        if self.taken:
            arrays["taken.densities"] = np.array(list(self.taken))
            arrays["taken.inputs"] = np.stack([each.inputs for each in self.taken.values()])
            arrays["taken.units"] = np.stack([each.units for each in self.taken.values()])
        if self.sizes is not None:
            arrays |= {"sizes.inputs": self.sizes.inputs, "sizes.units": self.sizes.units}
        with replacing(file) as stream:
            np.savez(stream, **arrays)

    @classmethod
    def load(cls, file: Path) -> Layer:
        """Read it again. Raises OSError, ValueError or KeyError where it is damaged."""
        with np.load(file, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
        predicted = _pointed(found) if "threshold" in found else None
        seen = found["frequency"], found["importance"], predicted, found.get("recurring")
        replayed = _unpacked(found.get("replayed"), len(found["frequency"]))
        about = str(found["name"]), str(found["kind"]), *seen
        return cls(*about, replayed, _taken(found), _sizes(found))


def _taken(found: Mapping[str, Array]) -> dict[float, Taken]:
    if "taken.densities" not in found:
        return {}
    names = ("taken.densities", "taken.inputs", "taken.units")
    densities, inputs, units = (found[name] for name in names)
    pairs = zip(inputs, units, strict=True)
    return dict(zip(densities.tolist(), (Taken(*pair) for pair in pairs), strict=True))


def _sizes(found: Mapping[str, Array]) -> Sizes | None:
    """Calibrations of older versions have none."""
    if "sizes.inputs" not in found:
        return None
    return Sizes(found["sizes.inputs"], found["sizes.units"])


def _unpacked(bits: Array | None, count: int) -> Array | None:
    """Of neurons, so many; calibrations of older versions have none."""
    return None if bits is None else np.unpackbits(bits, axis=-1, count=count).astype(bool)


def _predicted(pointed: Pointed) -> dict[str, Any]:
    fitted, uses = pointed.predictor, [pointed.uses[each] for each in pointed.thresholds]
    arrays: dict[str, Any] = {
        "threshold": np.float32(fitted.threshold),
        "outcome": np.array(fitted.outcome),
        "recalls": np.array(list(pointed.thresholds)),
        "thresholds": np.array(list(pointed.thresholds.values()), np.float32),
        "frequencies": np.stack([use.frequency for use in uses]),
    }
    again = [use.recurring for use in uses if use.recurring is not None]
    replayed = [np.packbits(use.replayed, axis=1) for use in uses if use.replayed is not None]
    for name, found in (("recurrings", again), ("selections", replayed)):
        if len(found) == len(uses):
            arrays[name] = np.stack(found)
    for name, codes in (("A", fitted.A), ("B", fitted.B)):
        arrays |= {f"{name}.codes": codes.codes_NK, f"{name}.scale": codes.scale_NG}
        arrays |= {f"{name}.zero": codes.zero_NG, f"{name}.group": np.int64(codes.group)}
    return arrays if fitted.bias is None else {**arrays, "bias": fitted.bias}


def _pointed(found: Mapping[str, Array]) -> Pointed:
    A, B = (
        Quantized(found[f"{n}.codes"], found[f"{n}.scale"], found[f"{n}.zero"], 4, group)
        for n, group in ((n, int(found[f"{n}.group"])) for n in "AB")
    )
    outcome = thresholds.Outcome(*map(float, found["outcome"]))
    fitted = Predictor(A, B, found.get("bias"), float(found["threshold"]), outcome)
    recalls = found["recalls"].tolist()
    often = found["frequencies"]
    nothing = [None] * len(often)
    replayed = _unpacked(found.get("selections"), often.shape[1])
    known = zip(
        often,
        found.get("recurrings", nothing),
        nothing if replayed is None else replayed,
        strict=True,
    )
    uses = [Use(*each) for each in known]
    points = zip(recalls, found["thresholds"].tolist(), strict=True)
    return Pointed(fitted, dict(points), dict(zip(recalls, uses, strict=True)))
