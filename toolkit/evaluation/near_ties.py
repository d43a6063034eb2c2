"""Near ties of routers and masks: choices that a storage type can't tell from others.

A router takes the k greatest of its scores, a mask those of greatest magnitude, or above a
threshold. Where the last that it takes and the first that it leaves lie closer together than the
errors of a plan's scores, or a score as close to the threshold, the plan may rightly choose another
expert than ONNX Runtime does; from that token on everything differs, though no kernel is wrong.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.compiler.calibration.reference import Choices
from toolkit.compiler.calibration.routers import Groups, Router

Array = npt.NDArray[Any]
# In each row: the last chosen, the first that is not, the gap between them.
Boundary = tuple[Array, Array, Array]
# A gap between scores is off by what all before the router rounds. In halves, as shares of the unit
# roundoff of the greatest score in a text: 0.9 in the mean of squares and 4.5 at most, of 3059 gaps
# in decoders of two layers (GPT-OSS, OLMoE); the rest is for deeper ones.
ROUNDOFFS = 8
# What masks look at is off by the sums of all layers before. In floats 36 at a choice that changed,
# of a trained decoder of four layers; the rest is for deeper ones.
OF_MASKS = 64


@dataclass(frozen=True)
class NearTie:
    """Two experts, groups of them or elements of a value, of which either may be chosen."""

    token: int  # its place in the text
    mixture: int  # which of the model's routers, or masks, from 0
    kind: str  # experts, groups, elements, neurons
    chosen: int
    other: int | None  # None: a threshold
    gap: float  # between their scores
    resolution: float  # gaps below it mean nothing

    @property
    def facts(self) -> dict[str, Any]:
        """As `verify --json` has it."""
        return asdict(self)


def first_near_tie(choices: Iterable[Choices], roundoff: float) -> NearTie | None:
    """The one with the lowest token of a text, then the lowest mixture.

    Scores are told apart if their gap is more than `ROUNDOFFS` times `roundoff`, the unit roundoff
    of what a plan stores, times the greatest score that the router gives in the text; `OF_MASKS`
    times for a mask.
    """
    by_mixture: dict[int, list[Choices]] = {}
    for each in choices:
        by_mixture.setdefault(each.mixture, []).append(each)
    found = [tie for parts in by_mixture.values() for tie in _first(parts, roundoff)]
    return min(found, key=lambda tie: (tie.token, tie.mixture), default=None)


def _first(parts: list[Choices], roundoff: float) -> Iterator[NearTie]:
    """The first of a router's near ties, of experts and of groups."""
    mixture, router = parts[0].mixture, parts[0].router
    places = np.concatenate([part.start + np.arange(len(part.scores)) for part in parts])
    scores = np.concatenate([part.scores for part in parts]).astype(np.float64)
    scores = scores if router.largest else -scores
    greatest = np.abs(scores[np.isfinite(scores)]).max(initial=0)
    roundoffs = OF_MASKS if router.is_mask else ROUNDOFFS
    resolution = float(roundoffs * roundoff * greatest)
    for kind, (last, following, gap) in _boundaries(scores, router).items():
        for row in np.flatnonzero(gap <= resolution)[:1]:
            other = None if router.threshold is not None else int(following[row])
            pair = int(last[row]), other
            yield NearTie(int(places[row]), mixture, kind, *pair, float(gap[row]), resolution)


def _boundaries(scores: Array, router: Router) -> dict[str, Boundary]:
    if router.threshold is not None:
        apart = np.abs(scores - float(np.float32(router.threshold)))
        nearest = apart.argmin(-1)
        return {router.kind: (nearest, nearest, apart.min(-1))}
    if router.groups is None:
        return {router.kind: _boundary(scores, router.k)}
    return _of_groups(scores, router.k, router.groups)


def _boundary(scores: Array, k: int) -> Boundary:
    """The last index that is chosen in each row, the first that isn't, and how far apart."""
    order = np.argsort(-scores, axis=-1, kind="stable")
    if k >= scores.shape[-1]:
        return order[:, -1], order[:, -1], np.full(len(scores), np.inf)
    last, following = order[:, k - 1], order[:, k]
    rows = np.arange(len(scores))
    with np.errstate(invalid="ignore"):  # scores that are infinite are not near to each other
        return last, following, scores[rows, last] - scores[rows, following]


def _of_groups(scores: Array, k: int, groups: Groups) -> dict[str, Boundary]:
    """Both boundaries of `pocket.GroupTopK`; one of groups counts where experts depend on it."""
    apart = scores.reshape(len(scores), groups.groups, -1)
    counts = np.sort(apart, axis=-1)[..., -groups.best :].sum(-1)
    last, following, gap = _boundary(counts, groups.kept)
    kept = np.argsort(np.argsort(-counts, axis=-1, kind="stable"), axis=-1) < groups.kept
    swapped, rows = kept.copy(), np.arange(len(scores))
    swapped[rows, last], swapped[rows, following] = False, True
    one, other = (
        np.where(mask[..., None], apart, groups.fill).reshape(scores.shape)
        for mask in (kept, swapped)
    )
    same = (_chosen(one, k) == _chosen(other, k)).all(-1)
    boundary = last, following, np.where(same, np.inf, gap / groups.best)
    return {"groups": boundary, "experts": _boundary(one, k)}


def _chosen(scores: Array, k: int) -> Array:
    """The k greatest of each row, by index."""
    return np.sort(np.argsort(-scores, axis=-1, kind="stable")[:, :k], axis=-1)
