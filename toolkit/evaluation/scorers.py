"""What gives a plan's logits of texts: an executor of one or of several, by chunks or by tokens."""

from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from toolkit.evaluation.resident import chooses_by_magnitude, predicts
from toolkit.executors.interface import DeviceInfo, Executor, Machine
from toolkit.executors.open import open_executor
from toolkit.plan.schema import Plan

Logits: TypeAlias = npt.NDArray[np.float32]
Ids: TypeAlias = npt.NDArray[np.int64]


class Batched(Protocol):
    """Logits [B, S, V] of several texts, appended to their caches."""

    name: str
    device: DeviceInfo

    @property
    def target(self) -> Machine:
        """Where it runs."""

    def score(self, ids_BS: Ids, past: int) -> Logits:
        """Feed ids at position `past`."""

    def close(self) -> None:
        """Give memory back."""


class OneText:
    """An executor as a batch of one."""

    def __init__(self, executor: Executor) -> None:
        self.name, self.device, self.target = executor.name, executor.device, executor.target
        self._executor, self.close = executor, executor.close

    def score(self, ids_BS: Ids, past: int) -> Logits:
        """Feed the only row."""
        return self._executor.score(ids_BS[0].tolist(), past)[None]


class Stepping(OneText):
    """The same, fed token by token as it generates: only there parts of networks are left out.

    `score_all` gives what all neurons do.
    """

    def __init__(self, executor: Executor) -> None:
        super().__init__(executor)
        self.score_all = super().score

    def score(self, ids_BS: Ids, past: int) -> Logits:
        """Feed the only row."""
        rows = []
        for at, token in enumerate(ids_BS[0].tolist(), past):
            self._executor.step(token, at)
            rows.append(self._executor.logits())
        return np.stack(rows)[None]


def scorer_of(path: Path, on: str, batch: int, **options: Any) -> Batched:
    """Of a plan for a batch of texts; `options` as open_executor has them."""
    if batch > 1:
        from toolkit.executors.batch.open import open_batch

        return open_batch(path, on, **options)
    executor = open_executor(path, on, **options)
    plan = executor.plan
    return Stepping(executor) if leaves_out(plan) else OneText(executor)


def leaves_out(plan: Plan) -> bool:
    """Whether a token is computed without some of what would change it."""
    return chooses_by_magnitude(plan) or predicts(plan)
