"""Several texts side by side in the C++ runner; see interface.BatchExecutor."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from toolkit.executors.batch.interface import Ids, Logits, checked_rows, checked_start
from toolkit.executors.runner_options import command_of
from toolkit.executors.runner_process import Process, device_of
from toolkit.executors.sampling import Sampling
from toolkit.executors.target import Local, Target
from toolkit.executors.text_checks import can_sample, check_states
from toolkit.plan.load import SamePlan, load_plan
from toolkit.plan.phase_choice import PhaseChoice


class RunnerBatch:
    """All the rows of a plan's batch at once, in a process of their own."""

    def __init__(
        self,
        path: Path,
        platform: str | None = None,
        cache: Path | str | None = None,
        target: Target | None = None,
        **wishes: str | None,
    ) -> None:
        """Load a plan with all its phases.

        platform, cache, target, wishes  as RunnerExecutor takes them
        """
        same = SamePlan(Path(path))
        self.plan = load_plan(Path(path), note=lambda _: None)  # the runner notes it
        check_states(self.plan)
        self.target: Target = target or Local()
        self.name = self.target.executor
        phases = ",".join(phase.name for phase in self.plan.phases)
        words = command_of(self.target, Path(path), self.plan, platform, cache, None, **wishes)
        self._process = Process(self.target, [*words, "--phases", phases])
        try:
            self.device = device_of(json.loads(self._process.answer()[1]))
            same.check()
        except BaseException:
            self.close()
            raise

    def begin(self, start: Sequence[int]) -> None:
        """Of each row, the position of its first token that is no padding."""
        self._process.ask(f"begin {_words(checked_start(self.plan, start))}")

    def configure(self, sampling: Sampling) -> None:
        """How ids are chosen from here on."""
        if can_sample(self.plan, sampling):
            self._process.ask(f"sampling {_words(sampling.words())}")

    def prefill(self, ids_BS: Ids, past: int) -> Ids:
        """Feed ids at position `past`, in chunks; return the next ids [B]."""
        return self._next("prefill", ids_BS, past)

    def step(self, ids_B: Ids, past: int) -> Ids:
        """Feed one id of each row; return the next ids [B]."""
        return self._next("step", np.asarray(ids_B)[:, None], past)

    def score(self, ids_BS: Ids, past: int) -> Logits:
        """Feed ids, in chunks; return the logits [B, S, V] of every position."""
        rows = checked_rows(self.plan, ids_BS, past)
        self._process.ask(f"score {past} score.f32 {_words(rows)}")
        batch, seq = rows.shape
        longest = PhaseChoice(self.plan).longest("logits", "seq")
        size = min(int(self.plan.model["prefill_chunk"]), longest)
        found, parts = self._read("score.f32").reshape(batch * seq, -1), list[Logits]()
        for at in range(0, seq, size):  # one chunk after the other, each of all rows
            count = min(size, seq - at)
            part = found[batch * at : batch * (at + count)]
            parts.append(part.reshape(batch, count, -1))
        return np.concatenate(parts, axis=1)

    def logits(self) -> Logits:
        """Logits [B, V] of the last position run."""
        self._process.ask("logits logits.f32")
        return self._read("logits.f32").reshape(int(self.plan.model["batch"]), -1)

    def close(self) -> None:
        """End the process."""
        self._process.end()
        self.target.close()

    def _next(self, command: str, ids_BS: Ids, past: int) -> Ids:
        rows = checked_rows(self.plan, ids_BS, past)
        _, *ids, _ = self._process.ask(f"{command} {past} {_words(rows)}")
        return np.array(ids, np.int64)

    def _read(self, name: str) -> Logits:
        return np.fromfile(self.target.fetch(name), "<f4").astype(np.float32, copy=False)


def _words(values: npt.ArrayLike) -> str:
    return " ".join(str(int(value)) for value in np.asarray(values).reshape(-1))
