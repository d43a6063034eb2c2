"""Texts of equal length scored side by side: plans of `--batch N`, on the Python executor.

Generation takes one text at a time; scoring fills a device better with several short ones.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.executors.opencl.phases import PhaseExecutor
from toolkit.executors.target import ThisComputer
from toolkit.executors.text_checks import check_states
from toolkit.plan.load import SamePlan, load_plan
from toolkit.plan.phase_choice import PhaseChoice, names_of

Ids = npt.NDArray[np.int64]


class BatchScorer:
    """The phases of a plan that give logits, for all the rows of its batch at once."""

    name = "host"

    def __init__(self, path: Path, platform: str | None = None, **_: Any) -> None:
        same = SamePlan(path)
        self.plan = load_plan(path)
        check_states(self.plan)
        self._choice = PhaseChoice(self.plan)
        scoring = names_of(self._choice.giving("logits"))
        if not scoring:
            raise PocketError(f"{path} cannot score", "no phase gives logits", "compile it again")
        self.phases = PhaseExecutor(path, self.plan, scoring, platform)
        self.device, self.target = self.phases.device, ThisComputer()
        self.longest = self._choice.longest("logits", "seq")
        for phase in scoring:
            self.phases.load(phase)
        same.check()

    def score(self, ids_BS: Ids, past: int) -> npt.NDArray[np.float32]:
        """Feed ids at position `past`; logits [B, S, V]. A token attends to its own row only."""
        pieces = range(0, ids_BS.shape[1], self.longest)
        end = past + ids_BS.shape[1]
        parts = [self._run(ids_BS[:, at : at + self.longest], past + at, end) for at in pieces]
        return np.concatenate(parts, axis=1)

    def close(self) -> None:
        """Nothing to end: memory goes with the object."""

    def _run(self, ids_BS: Ids, past: int, end: int) -> npt.NDArray[np.float32]:
        batch, seq = ids_BS.shape
        self.phases.write("tokens", ids_BS.astype(np.int32).reshape(-1))
        values = {"seq": seq, "past": past, "rows": seq}
        self.phases.bind(values | {"text_length": end})
        phase = self._choice.find("logits", values)
        assert phase is not None, "the loader checks that every piece has one"
        self.phases.run(phase.name)
        return self.phases.read("logits", "f32", [batch, seq, int(self.plan.model["vocab_size"])])
