"""A language model of a few lines in the place of a device: what the product does around it."""

from collections.abc import Collection, Generator, Sequence
from typing import Any

import numpy as np
import pytest

from toolkit.executor import advanced, check_held, check_tokens, chunks
from toolkit.plan import Buffer, Dispatch, HostStep, Phase, Plan, Program, SymbolDecl, Variant
from toolkit.profile import Span
from toolkit.sampling import Sampling

VOCAB, CONTEXT, CHUNK, EOS = 32, 100, 16, 31


def next_id(token: int, position: int) -> int:
    return (5 * token + position) % VOCAB


def logits_row(token: int, position: int) -> np.ndarray:
    """Largest at next_id, and different everywhere."""
    distance = np.abs(np.arange(VOCAB) - next_id(token, position))
    return (-distance / VOCAB - np.arange(VOCAB) / 1000).astype(np.float32)


class FakeExecutor:
    """The interface of an executor over `logits_row`; notes what it was asked."""

    name, device, load_s = "fake", "nothing", 0.0

    def __init__(self, plan: Plan, noise: float = 0.0) -> None:
        self.plan, self.noise = plan, noise
        self.stop_reason: Any = "length"
        self.calls: list[tuple[Any, ...]] = []
        self.closed = False
        self.reached = 0
        self.held: list[int] = []
        self._last = np.zeros(VOCAB, np.float32)

    def configure(self, sampling: Sampling) -> None:
        self.sampling = sampling

    def score(self, ids: Sequence[int], past: int) -> np.ndarray:
        check_tokens(self.plan, ids, past)
        self.held[past:] = ids
        self.reached = advanced(self.reached, past, len(ids))
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

    def held_ids(self, past: int) -> list[int]:
        return check_held(self.held, past)

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


def dispatch(name: str, program: int, *args: Any, writes: tuple[int, ...] = ()) -> Dispatch:
    return Dispatch(0, name, args, writes, (Variant(program, (1,), (1,)),))


@pytest.fixture
def plan() -> Plan:
    """A plan of two dispatches, as far as the product layer looks at it."""
    buffers = (
        Buffer("ids", "output", "i32", (1, CONTEXT + 1), 4 * (CONTEXT + 1)),
        Buffer("layers.0.k", "state", "f32", (1, 2, CONTEXT, 8), 6400, "append"),
        Buffer("layers.0.v", "state", "f32", (1, 2, CONTEXT, 8), 6400, "append"),
    )
    kernels = ("rope_kv", "attention_decode_cpu", "copy")
    steps = (
        dispatch("layers.0.rope", 0, ("symbols",), ("buffer", 1), ("buffer", 2), writes=(1, 2)),
        dispatch("layers.0.attention", 1, ("symbols",), ("buffer", 1), ("buffer", 2)),
        HostStep("fetch", 0),
    )
    bounds = {"seq": (1, 1), "rows": (1, 1)}
    source = {"path": "/nowhere/model.onnx", "sha256": "0" * 64}
    return Plan(
        generator="test",
        model={
            "vocab_size": VOCAB,
            "max_context": CONTEXT,
            "prefill_chunk": CHUNK,
            "eos": [EOS],
            "source": source,
        },
        profile={"name": "pocl", "class": "cpu", "align": 128},
        symbols=(SymbolDecl("seq", "input", 1, CHUNK), SymbolDecl("past", "input", 0, CONTEXT)),
        buffers=buffers,
        weights=(),
        files=(),
        programs=tuple(Program(f"kernels/{k}.cl", k, ()) for k in kernels),
        phases=(Phase("decode", bounds, True, (), steps),),
    )


@pytest.fixture
def executor(plan: Plan) -> FakeExecutor:
    return FakeExecutor(plan)
