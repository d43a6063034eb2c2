"""What is tried: a way to leave out parts of networks, their density, and the memory there is."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from opencl_kernels.formats import Array
from toolkit.calibration.sparse.caches import Chosen
from toolkit.calibration.walk import Window

DENSE = "dense"  # the stage of what a method computes whole, beside what it chooses


@dataclass(frozen=True)
class Case:
    """One of them.

    sparsity  one of METHODS (methods.py)
    density   share of a network's numbers that a token's products take
    gamma     what magnitudes of records that aren't in memory are worth; 1: as much as others
    memory    share of the networks' numbers that there is room for
    policy    which records stay in memory: static, lru, lfu
    refit     the last matrix is fitted to what is left (refit.py)
    layers    a density for each layer, in place of one for all
    """

    sparsity: str = "all"
    density: float = 1.0
    gamma: float = 1.0
    memory: float = 0.0
    policy: str = "static"
    refit: bool = False
    layers: tuple[float, ...] = ()

    def of_layer(self, level: int) -> float:
        """The density of a layer."""
        return self.layers[level] if self.layers else self.density


@dataclass(frozen=True)
class Stage:
    """What the tokens of a window did with the records of a table.

    width       numbers of a record
    products    of the model that share its records
    chosen_T    records that each token took
    missing_TN  bool, by record: those of them that were not in memory
    """

    name: str
    width: float
    products: int
    chosen_T: Array
    missing_TN: Array

    @property
    def missed_T(self) -> Array:
        """Records that each token had to read."""
        return np.asarray(self.missing_TN.sum(axis=1))


def stage_of(name: str, width: float, products: int, found: Chosen) -> Stage:
    """Of what was chosen."""
    return Stage(name, width, products, found.mask_TN.sum(axis=1), found.missing_TN)


@dataclass(frozen=True)
class Passed:
    """What a network gave [T, D], and what was taken for it, table by table."""

    y_TD: Array
    stages: tuple[Stage, ...]


@dataclass
class Judged(Window):
    """A window on its way under a case; what it is judged by gathers layer by layer.

    taken, missed  numbers of networks so far, all tokens together
    hits           of each stage, of each layer so far: the mean of its tokens' shares of records
                   that were in memory; `products` that share the stage's records
    nats           after the last layer, of each token but the first
    """

    held_out: bool = True
    case: Case = field(default_factory=Case)
    taken: float = 0.0
    missed: float = 0.0
    hits: dict[str, list[float]] = field(default_factory=dict)
    products: dict[str, int] = field(default_factory=dict)
    nats: Array | None = None

    def note(self, stage: Stage) -> None:
        """One layer's table more."""
        missed, taken = stage.missed_T, stage.chosen_T
        self.taken += float(taken.sum()) * stage.width
        self.missed += float(missed.sum()) * stage.width
        shares = [1 - m / t if t else 1.0 for m, t in zip(missed, taken, strict=True)]
        self.hits.setdefault(stage.name, []).append(sum(shares) / len(shares))
        self.products[stage.name] = stage.products

    @property
    def hit_rate(self) -> float:
        """The mean over products and tokens, as DIP's authors count."""
        sums = [
            (sum(hits) * self.products[name], len(hits) * self.products[name])
            for name, hits in self.hits.items()
        ]
        return sum(hit for hit, _ in sums) / sum(count for _, count in sums)
