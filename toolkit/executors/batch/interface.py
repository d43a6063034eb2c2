"""Several texts side by side: plans of `--batch N`, on either executor.

All rows of a batch are fed equally many ids; shorter texts are padded on the left, and `begin` says
where each one begins. Padding is computed and never looked at.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.executors.interface import DeviceInfo, Machine
from toolkit.executors.sampling import Sampling
from toolkit.executors.text_checks import check_tokens
from toolkit.plan.schema import Plan

Ids = npt.NDArray[np.int64]
Logits = npt.NDArray[np.float32]
PADDING = 0  # any id that a model has: what is computed of it, nothing reads


class BatchExecutor(Protocol):
    """A loaded plan of a batch of B texts. Positions count the padding; the caller's are right."""

    name: str
    plan: Plan
    device: DeviceInfo

    @property
    def target(self) -> Machine:
        """Where it runs."""

    def begin(self, start: Sequence[int]) -> None:
        """Of each row, the position of its first token that is no padding; 0 until this is said."""

    def configure(self, sampling: Sampling) -> None:
        """How ids are chosen from here on; greedily until this is called."""

    def prefill(self, ids_BS: Ids, past: int) -> Ids:
        """Feed ids at position `past`, in chunks; return the next ids [B]."""

    def step(self, ids_B: Ids, past: int) -> Ids:
        """Feed one id of each row through the decode phase; return the next ids [B]."""

    def score(self, ids_BS: Ids, past: int) -> Logits:
        """Feed ids, in chunks; return the logits [B, S, V] of every position."""

    def logits(self) -> Logits:
        """Logits [B, V] of the last position run."""

    def close(self) -> None:
        """Give the device's memory back."""


def left_padded(texts: Sequence[Sequence[int]]) -> tuple[Ids, list[int]]:
    """Texts as rows of equal length [B, S], and where each begins."""
    longest = max(map(len, texts), default=0)
    rows = np.full((len(texts), longest), PADDING, np.int64)
    start = [longest - len(text) for text in texts]
    for row, text, first in zip(rows, texts, start, strict=True):
        row[first:] = text
    return rows, start


def checked_start(plan: Plan, start: Sequence[int]) -> list[int]:
    """Where rows begin; raises unless there is a possible position for each."""
    batch, context = int(plan.model["batch"]), int(plan.model["max_context"])
    if len(start) != batch:
        because = f"the plan was compiled for {batch}"
        raise PocketError(f"{len(start)} texts can't begin", because, "one position for each row")
    for first in start:
        if not 0 <= first < context:
            because = f"the plan was compiled for {context}"
            hint = "the number of padding tokens before it"
            raise PocketError(f"a text can't begin at position {first}", because, hint)
    return [int(first) for first in start]


def checked_rows(plan: Plan, ids_BS: Ids, past: int) -> Ids:
    """Ids [B, S] as they can be fed at this position; raises where they cannot."""
    rows, batch = np.asarray(ids_BS, np.int64), int(plan.model["batch"])
    if rows.ndim != 2 or len(rows) != batch:
        shape = " × ".join(map(str, rows.shape))
        because = f"the plan was compiled for {batch} texts"
        raise PocketError(f"ids of the shape {shape} are no batch", because, f"[{batch}, tokens]")
    for row in rows:
        check_tokens(plan, row.tolist(), past)
    return rows
