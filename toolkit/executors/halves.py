"""What halves hold while a plan runs: how many are no numbers, or near the end of their range."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.executors.dump import Dumped

NEAR = 32_000  # half of what a half holds: another text may well be beyond it


@dataclass
class Count:
    """Elements of one stored value, over all steps that write it."""

    value: str
    largest: float = 0.0  # of those that are numbers
    near: int = 0  # larger than NEAR
    not_finite: int = 0


@dataclass
class Halves:
    """Counts of every value that a plan stores as halves, in the order of steps; gets dumps."""

    counts: dict[str, Count] = field(default_factory=dict)

    def __call__(self, dumped: Dumped) -> None:
        """Count a tensor that a step has written."""
        if dumped.value.dtype != np.float16 or not dumped.value.size:
            return
        count = self.counts.setdefault(dumped.tensor, Count(dumped.tensor))
        sizes = np.abs(dumped.value.astype(np.float32))
        finite = np.isfinite(sizes)
        count.not_finite += int(np.size(sizes) - finite.sum())
        count.largest = max(count.largest, float(sizes.max(initial=0, where=finite)))
        count.near += int(np.sum(finite & (sizes > NEAR)))

    def list(self) -> list[dict[str, Any]]:
        """The counts, as the runner gives them."""
        return [vars(count) for count in self.counts.values()]
