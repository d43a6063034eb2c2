"""What a compile takes from a calibration where networks are computed in part (DIP): how much of
them, for what that costs, and which inputs and hidden units are taken most often."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opencl_kernels.formats import Array
from toolkit.errors import PocketError
from toolkit.predictors.folder import AGAIN, Folder

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Pruned:
    """A density, and what magnitudes count of what isn't in memory.

    loss  rise in perplexity on held-out text, whatever there is memory for; None: not measured
    """

    density: float
    gamma: float
    loss: float | None = None


def measured(facts: Mapping[str, Any], sparsity: str) -> list[Pruned]:
    """The operating points of a calibration, those first that read least."""
    rows: Sequence[Row] = [row for row in facts.get("dip", ()) if row["selector"] == sparsity]
    pairs = dict.fromkeys((row["density"], row["gamma"]) for row in rows)
    by_pair = {pair: [r for r in rows if (r["density"], r["gamma"]) == pair] for pair in pairs}
    ordered = sorted(pairs, key=lambda pair: _read(by_pair[pair], pair[0]))
    return [Pruned(*pair, max(row["loss"] for row in by_pair[pair])) for pair in ordered]


def _read(rows: Iterable[Row], density: float) -> float:
    """Of a network's weights, what a token reads: a mean over what there was memory for."""
    missed = [float(row["missed"]) for row in rows]
    return density * sum(missed) / len(missed)


def chosen(
    facts: Mapping[str, Any],
    sparsity: str,
    density: float | None,
    gamma: float | None,
    most: float,
) -> Pruned:
    """The point that reads least and costs at most so much, of those that are asked for.

    Raises PocketError where the calibration has none.
    """
    known = measured(facts, sparsity)
    if not known:
        because = "the calibration is of networks that are computed otherwise, or an older one"
        raise PocketError(f"nothing is known of --sparsity {sparsity}", because, AGAIN)
    asked = [p for p in known if density in (None, p.density) and gamma in (None, p.gamma)]
    if not asked:
        points = ", ".join(f"{p.density:g} ({p.gamma:g})" for p in known)
        because = f"it has measured densities (and gammas) {points}"
        raise PocketError("the calibration has no such point", because, "take one of these")
    fitting = [point for point in asked if point.loss is not None and point.loss <= most]
    if fitting:
        return fitting[0]
    least = min(float(point.loss or 0) for point in asked)
    because = f"the least that one of its points costs is {least:.2%} of perplexity"
    hint = f"--max-loss {100 * least + 0.01:.2f}%"
    raise PocketError(f"no density costs at most {most:.2%}", because, hint)


def taken_by(calibration: str | None, density: float) -> tuple[Array, ...]:
    """Of each network's inputs, then of its hidden units, in which share of tokens they are taken;
    none without a calibration. Of a density that is not known those of the nearest one."""
    if calibration is None:
        return ()
    folder, found = Folder(Path(calibration)), list[Array]()
    for number in range(len(folder.finished()["layers"])):
        taken = folder.layer(number).taken
        if not taken:
            because = "it is of networks that are computed otherwise, or an older one"
            raise PocketError("the calibration knows no inputs", because, AGAIN)
        nearest = taken[min(taken, key=lambda each: abs(each - density))]
        found += [nearest.inputs, nearest.units]
    return tuple(found)
