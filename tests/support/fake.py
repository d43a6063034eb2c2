"""A language model of a few lines in the place of a device: what the product does around it."""

from collections.abc import Collection, Generator, Sequence
from typing import Any

import numpy as np

from toolkit.executors.history import History
from toolkit.executors.interface import DeviceInfo
from toolkit.executors.sampling import Sampling
from toolkit.executors.spans import Span
from toolkit.executors.target import ThisComputer
from toolkit.executors.text_checks import check_tokens, chunks
from toolkit.plan.schema import Plan

VOCAB, CONTEXT, CHUNK, EOS = 32, 100, 16, 31


def next_id(token: int, position: int) -> int:
    return (5 * token + position) % VOCAB


def logits_row(token: int, position: int) -> np.ndarray:
    """Largest at next_id, and different everywhere."""
    distance = np.abs(np.arange(VOCAB) - next_id(token, position))
    return (-distance / VOCAB - np.arange(VOCAB) / 1000).astype(np.float32)


class FakeExecutor:
    """The interface of an executor over `logits_row`; notes what it was asked."""

    name, load_s = "fake", 0.0
    device, target = DeviceInfo("nothing", 2, "1", "none"), ThisComputer()

    def __init__(self, plan: Plan, noise: float = 0.0) -> None:
        self.plan, self.noise = plan, noise
        self.stop_reason: Any = "length"
        self.calls: list[tuple[Any, ...]] = []
        self.closed = False
        self.history = History(plan)
        self._last = np.zeros(VOCAB, np.float32)

    def configure(self, sampling: Sampling) -> None:
        self.sampling = sampling

    def score(self, ids: Sequence[int], past: int) -> np.ndarray:
        check_tokens(self.plan, ids, past)
        self.history.feed(ids, past)
        rows = np.stack([logits_row(token, past + i) for i, token in enumerate(ids)])
        rows[0] += self.noise
        self._last = rows[-1]
        return rows

    def prefill(self, ids: Sequence[int], past: int) -> int:
        self.calls.append(("prefill", list(ids), past))
        for piece, at in chunks(self.plan, ids, past):
            self.score(piece, at)
        return int(np.argmax(self._last))

    def step(self, token: int, past: int) -> int:
        return int(np.argmax(self.score([token], past)[0]))

    def decode(
        self, token: int, past: int, count: int, stop: Collection[int]
    ) -> Generator[int, None, None]:
        self.calls.append(("decode", token, past, count))
        self.stop_reason = "cancel"
        for i in range(count):
            if past + i >= CONTEXT:
                self.stop_reason = "context"
                return
            token = self.step(token, past + i)
            yield token
            if token in stop:
                self.stop_reason = "eos"
                return
        self.stop_reason = "length"

    def logits(self) -> np.ndarray:
        return self._last

    def stats(self) -> dict[str, Any]:
        return {"host_us_per_token": 12.5, "peak_rss_bytes": 1000}

    def start_profile(self) -> None:
        self.calls = []

    def take_profile(self) -> list[Span]:
        """A run of two kernels for the prefill and for every token decoded, 10 µs apart."""
        decoded = sum(call[3] for call in self.calls if call[0] == "decode")
        spans = []
        for run in range(1 + decoded):
            phase, at = ("decode" if run else "prefill"), 100_000 * run
            spans.append(Span(run, phase, "a", "gemv", at, at + 1, at + 2_000, at + 50_000))
            spans.append(Span(run, phase, "b", "argmax", at, at + 1, at + 51_000, at + 92_000))
        return spans

    def close(self) -> None:
        self.closed = True
