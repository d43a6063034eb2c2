"""Texts of equal length scored side by side: plans of `--batch N`, on the Python executor.

Generation takes one text at a time; scoring fills a device better with several short ones.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.executors.interface import check_states
from toolkit.executors.machine import Machine, choose_device
from toolkit.plan.load import SamePlan, load_plan

Ids = npt.NDArray[np.int64]


class BatchScorer:
    """The score phase of a plan, for all the rows of its batch at once."""

    name = "host"

    def __init__(self, path: Path, platform: str | None = None, **_: Any) -> None:
        same = SamePlan(path)
        self.plan = load_plan(path)
        check_states(self.plan)
        phase = self.plan.phase("score")
        if phase is None:
            raise PocketError(f"{path} cannot score", "it has no phase `score`", "compile it again")
        device = choose_device(platform, self.plan.profile.get("class") == "cpu")
        self.device = f"{device.name.strip()}, {device.platform.version.strip()}"
        self.machine = Machine(path, self.plan, device)
        self.ready, self.longest = self.machine.prepare(phase), phase.bounds["seq"][1]
        same.check()
        self.buffers = dict(
            zip((b.name for b in self.plan.buffers), self.machine.buffers, strict=True)
        )

    def score(self, ids_BS: Ids, past: int) -> npt.NDArray[np.float32]:
        """Feed ids at position `past`; logits [B, S, V]. A token attends to its own row only."""
        pieces = range(0, ids_BS.shape[1], self.longest)
        parts = [self._run(ids_BS[:, at : at + self.longest], past + at) for at in pieces]
        return np.concatenate(parts, axis=1)

    def close(self) -> None:
        """Nothing to end: memory goes with the object."""

    def _run(self, ids_BS: Ids, past: int) -> npt.NDArray[np.float32]:
        batch, seq = ids_BS.shape
        known = {"seq": seq, "past": past, "rows": seq}
        values = {s.name: known.get(s.name, s.min) for s in self.plan.symbols}
        self.machine.write(self.buffers["tokens"], ids_BS.astype(np.int32).reshape(-1))
        self.machine.write(self.machine.symbols, np.array([*values.values()], np.int32))
        self.machine.run(self.ready, values, lambda _: None, None)
        shape = [batch, seq, int(self.plan.model["vocab_size"])]
        return self.machine.read(self.buffers["logits"], "f32", shape)
