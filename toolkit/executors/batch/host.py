"""Several texts side by side on pyopencl; see interface.BatchExecutor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import PocketError
from toolkit.executors.batch.interface import Ids, Logits, checked_rows, checked_start
from toolkit.executors.opencl.phases import PhaseExecutor
from toolkit.executors.sampling import Sampling
from toolkit.executors.target import ThisComputer
from toolkit.executors.text_checks import can_sample, check_states, checked_id, chunks
from toolkit.plan.load import SamePlan, load_plan
from toolkit.plan.phase_choice import PhaseChoice


class HostBatch:
    """All the rows of a plan's batch at once; phases are loaded when they are first used."""

    name = "host"

    def __init__(self, path: Path, platform: str | None = None, **_: Any) -> None:
        self._same = SamePlan(path)
        self.plan = load_plan(path)
        check_states(self.plan)
        self._choice = PhaseChoice(self.plan)
        self.phases = PhaseExecutor(path, self.plan, (), platform)
        self.device, self.target = self.phases.device, ThisComputer()
        self._start = [0] * int(self.plan.model["batch"])
        self._rows = 0  # of logits that the last run left of each text

    def begin(self, start: Sequence[int]) -> None:
        """Of each row, the position of its first token that is no padding."""
        self._start = checked_start(self.plan, start)

    def configure(self, sampling: Sampling) -> None:
        """How ids are chosen from here on."""
        if can_sample(self.plan, sampling):
            self.phases.write("sampling", sampling.words())

    def prefill(self, ids_BS: Ids, past: int) -> Ids:
        """Feed ids at position `past`, in chunks; return the next ids [B]."""
        self._feed("ids", checked_rows(self.plan, ids_BS, past), past)
        return self._next(past + ids_BS.shape[1])

    def step(self, ids_B: Ids, past: int) -> Ids:
        """Feed one id of each row; return the next ids [B]."""
        return self.prefill(np.asarray(ids_B)[:, None], past)

    def score(self, ids_BS: Ids, past: int) -> Logits:
        """Feed ids, in chunks; return the logits [B, S, V]. A token attends to its own row only."""
        return np.concatenate(
            self._feed("logits", checked_rows(self.plan, ids_BS, past), past), axis=1
        )

    def logits(self) -> Logits:
        """Logits [B, V] of the last position run."""
        if not self._rows:
            raise PocketError("there are no logits yet", "nothing was run", "prefill first")
        return self._logits()[:, -1]

    def close(self) -> None:
        """Give the device's memory back."""
        self.phases.close()

    def _feed(self, gives: str, rows: Ids, past: int) -> list[Logits]:
        """Run a phase that gives a buffer for each chunk; the logits, if these are it."""
        end, found, places = past + rows.shape[1], list[Logits](), list(range(rows.shape[1]))
        for part, at in chunks(self.plan, places, past, gives):
            self._run(gives, rows[:, part], at, end)
            found += [self._logits()] if gives == "logits" else []
        return found

    def _run(self, gives: str, part: Ids, past: int, end: int) -> None:
        seq = part.shape[1]
        values = {"seq": seq, "past": past, "rows": seq if gives == "logits" else 1}
        phase = self._choice.find(gives, values)
        assert phase is not None, "the loader checks that every piece has one"
        if self.phases.load(phase.name):
            self._same.check()
        self.phases.write("tokens", part.astype(np.int32).reshape(-1))
        self.phases.bind({**values, "start": self._start, "text_length": end})
        self.phases.run(phase.name)
        self._rows = values["rows"]

    def _logits(self) -> Logits:
        shape = (len(self._start), self._rows, int(self.plan.model["vocab_size"]))
        return self.phases.read("logits", "f32", shape)

    def _next(self, position: int) -> Ids:
        """The ids that were chosen for a position."""
        shape = (len(self._start), int(self.plan.model["max_context"]) + 1)
        chosen = self.phases.read("ids", "i32", shape)[:, position]
        return np.array([checked_id(int(token), position - 1) for token in chosen])
