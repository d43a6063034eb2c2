"""What generation, evaluation and benchmarks see of an executor of a language model."""

from collections.abc import Collection, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from toolkit.executors.history import History
from toolkit.executors.sampling import Sampling
from toolkit.plan.schema import Plan

StopReason: TypeAlias = Literal["eos", "length", "context", "cancel"]


@dataclass(frozen=True)
class DeviceInfo:
    """The device that a plan runs on; `label` is its name for people."""

    label: str
    compute_units: int
    driver: str
    platform: str


class Machine(Protocol):
    """The computer or phone that a plan runs on."""

    def facts(self) -> dict[str, Any]:
        """{"phone": …}: which phone it is and what was copied to it; nothing of this computer."""

    def shell(self, command: str) -> str:
        """What a command prints there, whether it fails or not."""


class Executor(Protocol):
    """A loaded plan of a language model. The caller's `past` is authoritative: rewinding is free
    as long as `history.holds` says so.

    Feeding n tokens at `past` fills positions past … past+n-1; past+n may not exceed max_context.
    """

    name: str
    plan: Plan
    load_s: float
    device: DeviceInfo
    history: History  # what the states hold
    stop_reason: StopReason  # why the last decode ended

    @property
    def target(self) -> Machine:
        """Where it runs."""

    def configure(self, sampling: Sampling) -> None:
        """How ids are chosen from here on; greedily until this is called."""

    def expect(self, tokens: int) -> None:
        """How many tokens the text will have, as far as that is known; 0: not at all.

        Models with rotary tables by the length of a text (LongRoPE) go by this from here on, or by
        what a call feeds where that is more. Keys in the cache stay as they were made.
        """

    def prefill(self, ids: Sequence[int], past: int) -> int:
        """Feed ids, in chunks; return the next id."""

    def step(self, token: int, past: int) -> int:
        """Feed one forced token through the decode phase; return the next id."""

    def decode(
        self, token: int, past: int, count: int, stop: Collection[int]
    ) -> Generator[int, None, None]:
        """Feed `token`, yield the next id, feed it, … at most `count` ids.

        A stop id is yielded, as the last one. Closing the generator cancels. A full context ends
        it (`stop_reason` says so). The device runs one step ahead of the ids: after "eos" and
        "cancel", `logits` may belong to the step after the last id.
        """

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits [V] of the last position run."""

    def logprobs(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Log-probabilities of ids chosen for these positions, if `configure` asked for them."""

    def score(self, ids: Sequence[int], past: int) -> npt.NDArray[np.float32]:
        """Feed ids, in chunks; return the logits [len(ids), V] of every position."""

    def save_state(self, path: Path, past: int, note: Mapping[str, Any]) -> None:
        """Write the first `past` positions of text and states to a file (plan/state_file.py)."""

    def load_state(self, path: Path) -> int:
        """Take text and states from a file; return its `past`. A refused file changes nothing."""

    def start_halves(self) -> None:
        """Count from here on what stored halves hold; steps take longer meanwhile."""

    def take_halves(self) -> list[dict[str, Any]]:
        """The counts of each value (executors/halves.py) since `start_halves`; ends it."""

    def budget(self, memory: int | str) -> int:
        """What a plan with weights in flash may take of memory from here on: bytes, "2G" or "50%".

        Between two tokens of a decode as well. Returns what it takes then, which may be less.
        Raises PocketError, and changes nothing, where it doesn't run in so little, or nothing of it
        is in flash.
        """

    def stats(self) -> dict[str, Any]:
        """Figures: host_us_per_token, peak_rss_bytes, prefill_s, decode_s …"""

    def close(self) -> None:
        """Give the device's memory back (the runner: end the process)."""
