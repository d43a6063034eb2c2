"""What a compile takes from a calibration where networks are computed in part (DIP): how much of
them, for what that costs, and which inputs and hidden units are taken most often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.predictors.folder import AGAIN, Folder
from toolkit.predictors.layer import Use

Row = Mapping[str, Any]
Shares = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Pruned:
    """A density, and what magnitudes count of what isn't in memory.

    losses  rises in perplexity on held-out text by the share of networks in memory, ascending from
            0 to 1; none: not measured
    refit   whether they are those with last matrices that are refitted
    """

    density: float
    gamma: float
    losses: tuple[tuple[float, float], ...] = ()
    refit: bool = False

    def loss(self, share: float) -> float:
        """With so much in memory: between what was measured the greater one."""
        if share in (known := dict(self.losses)):
            return known[share]
        pairs = pairwise(self.losses)
        return max(max(a[1], b[1]) for a, b in pairs if a[0] <= share <= b[0])

    def shares(self, most: float) -> Shares:
        """How much may be in memory where that is not to cost more, as Use has it."""
        found = list[tuple[float, float]]()
        spans = [(s, s) for s, loss in self.losses if loss <= most]
        spans += [(a[0], b[0]) for a, b in pairwise(self.losses) if max(a[1], b[1]) <= most]
        for low, high in sorted(spans):
            if found and low <= found[-1][1]:
                found[-1] = found[-1][0], max(high, found[-1][1])
            else:
                found.append((low, high))
        return tuple(found)


def measured(facts: Mapping[str, Any], sparsity: str) -> list[Pruned]:
    """The operating points of a calibration, the lowest densities and gammas first; those of dip
    are points of dip-ca, too: its gamma of 1.

    With nothing in memory, or all of it, nothing counts more than anything else: gammas cost
    nothing there. Matrices are refitted where that costs no more with any memory.
    """
    refitted = _of_rows(facts.get("refitted", ()), sparsity)
    return [
        Pruned(*pair, refitted[pair], True)
        if pair in refitted and _is_less(refitted[pair], losses)
        else Pruned(*pair, losses)
        for pair, losses in sorted(_of_rows(facts.get("dip", ()), sparsity).items())
    ]


def _is_less(one: Shares, other: Shares) -> bool:
    """Of losses by the same shares."""
    pairs = list(zip(one, other, strict=True))
    return one != other and all(a[1] <= b[1] for a, b in pairs)


def _of_rows(rows: Sequence[Row], sparsity: str) -> dict[tuple[float, float], Shares]:
    """By density and gamma the losses by shares in memory."""
    plain = {row["density"]: float(row["loss"]) for row in rows if row["gamma"] == 1}
    found = dict[tuple[float, float], list[tuple[float, float]]]()
    for row in rows:
        if sparsity == "dip-ca" or row["gamma"] == 1:
            pair = row["density"], row["gamma"]
            ends = [(s, plain[pair[0]]) for s in (0.0, 1.0) if pair[0] in plain]
            found.setdefault(pair, ends)
            if pair[1] < 1:
                found[pair].append((float(row["memory"]), float(row["loss"])))
    return {pair: tuple(sorted(losses)) for pair, losses in found.items()}


def asked_of(
    facts: Mapping[str, Any], sparsity: str, density: float | None, gamma: float | None
) -> list[Pruned]:
    """The points that are asked for; raises PocketError where the calibration has none."""
    known = measured(facts, sparsity)
    if not known:
        because = "the calibration is of networks that are computed otherwise, or an older one"
        raise PocketError(f"nothing is known of --sparsity {sparsity}", because, AGAIN)
    asked = [p for p in known if density in (None, p.density) and gamma in (None, p.gamma)]
    if not asked:
        points = ", ".join(f"{p.density:g} ({p.gamma:g})" for p in known)
        because = f"it has measured densities (and gammas) {points}"
        raise PocketError("the calibration has no such point", because, "take one of these")
    return asked


def legal(asked: Sequence[Pruned], most: float) -> list[Pruned]:
    """Those that cost at most so much with some memory; raises PocketError where none does."""
    found = [each for each in asked if each.shares(most)]
    if not found:
        least = min(loss for each in asked for _, loss in each.losses)
        because = f"the least that one of its points costs is {least:.2%} of perplexity"
        hint = f"--max-loss {100 * least + 0.01:.2f}%"
        raise PocketError(f"no density costs at most {most:.2%}", because, hint)
    return found


def worth_trying(points: Sequence[Pruned], most: float) -> list[Pruned]:
    """Those that no other one is faster than whatever there is memory for: it would compute no
    more, prefer what is in memory no less, and may have it wherever these may."""

    def beats(one: Pruned, other: Pruned) -> bool:
        less = one.density <= other.density and one.gamma <= other.gamma
        wide = all(
            any(low <= a and b <= high for low, high in one.shares(most))
            for a, b in other.shares(most)
        )
        return one != other and less and wide

    found = [each for each in points if each.shares(most)]
    return [each for each in found if not any(beats(other, each) for other in found)]


def taken_by(calibration: str, density: float) -> tuple[Use, ...]:
    """Of each network's inputs, then of its hidden units, how they are taken."""
    folder, found = Folder(Path(calibration)), list[Use]()
    for number in range(len(folder.finished()["layers"])):
        layer = folder.layer(number)
        if not layer.taken or layer.sizes is None:
            because = "it is of networks that are computed otherwise, or an older one"
            raise PocketError("the calibration knows no inputs", because, AGAIN)
        nearest = layer.taken[min(layer.taken, key=lambda each: abs(each - density))]
        found.append(Use(nearest.inputs, sizes=layer.sizes.inputs))
        found.append(Use(nearest.units, sizes=layer.sizes.units))
    return tuple(found)
