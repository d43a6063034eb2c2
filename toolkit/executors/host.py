"""Language models on `host.Machine`: chunked prefill, decode, scoring, with dumps on request."""

import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.executors.dump import ALL, Dumped, Sink, check_names, print_dumped
from toolkit.executors.history import advanced, check_held
from toolkit.executors.interface import (
    StopReason,
    can_sample,
    check_positions,
    check_states,
    check_tokens,
    checked_id,
    chunks,
)
from toolkit.executors.machine import Machine, Ready, choose_device
from toolkit.executors.sampling import Sampling
from toolkit.executors.spans import Span
from toolkit.plan import state_file
from toolkit.plan.load import SamePlan, load_plan, plan_digest
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Dispatch, Plan


class HostExecutor:
    """A language model's plan on a device of this machine; see `executor.Executor`.

    platform  part of the name of an OpenCL platform or device, else $POCKETCL_PLATFORM
    profile   take kernel times between start_profile and take_profile
    dump      names of tensors ("all": every one) that `sink` gets behind each step that writes them
    """

    name = "host"

    def __init__(
        self,
        path: Path,
        platform: str | None = None,
        dump: Collection[str] = (),
        sink: Sink = print_dumped,
        profile: bool = False,
    ) -> None:
        started = time.perf_counter()
        self._same = SamePlan(path)
        self.plan = load_plan(path)
        _check_kind(self.plan)
        check_states(self.plan)
        check_names(self.plan, dump)
        device = choose_device(platform, self.plan.profile.get("class") == "cpu")
        self.machine = Machine(path, self.plan, device, profile)
        self.compute_units = int(device.max_compute_units)
        self.device = f"{device.name.strip()}, {device.platform.version.strip()}"
        self.dump, self.sink = frozenset(dump), sink
        self.stop_reason: StopReason = "length"
        self.reached = 0
        self._digest = plan_digest(path)
        self._held: list[int] = []  # the id at every position that the states hold
        self._values: dict[str, int] = {}
        self._ready: dict[str, Ready] = {}
        self._stats = {"prefill_s": 0.0, "decode_s": 0.0, "enqueue_s": 0.0, "decode_tokens": 0}
        self._buffers = {
            b.name: m for b, m in zip(self.plan.buffers, self.machine.buffers, strict=True)
        }
        for phase in ("prefill", "decode"):  # score: when it is first used
            self._phase(phase)
        self.load_s = time.perf_counter() - started

    def configure(self, sampling: Sampling) -> None:
        """How ids are chosen from here on; greedily until this is called."""
        if can_sample(self.plan, sampling):
            self.machine.write(self._buffers["sampling"], sampling.words())

    def prefill(self, ids: Sequence[int], past: int) -> int:
        """Feed ids, in chunks; return the next id."""
        check_tokens(self.plan, ids, past)
        started = time.perf_counter()
        for part, at in chunks(self.plan, ids, past):
            self._bind(part, at)
            fetched = self._enqueue("prefill", at)
        token = checked_id(fetched(), past + len(ids) - 1)
        self._stats["prefill_s"] = time.perf_counter() - started
        return token

    def step(self, token: int, past: int) -> int:
        """Feed one forced token through the decode phase; return the next id."""
        check_tokens(self.plan, [token], past)
        self._bind([token], past)
        return checked_id(self._enqueue("decode", past)(), past)

    def decode(
        self, token: int, past: int, count: int, stop: Collection[int]
    ) -> Generator[int, None, None]:
        """Feed `token`, yield the next id, feed it …; the device is one step ahead of the ids."""
        self.stop_reason = "cancel"  # holds when the caller closes the generator
        steps = min(count, int(self.plan.model["max_context"]) - past)
        if steps > 0:
            check_tokens(self.plan, [token], past)
            started, self._stats["enqueue_s"] = time.perf_counter(), 0.0
            self._bind([token], past)
            ahead = self._enqueue("decode", past)
            for done in range(steps):
                fetched = ahead
                if done + 1 < steps:
                    ahead = self._enqueue("decode", past + done + 1)
                token = checked_id(fetched(), past + done)
                self._held.append(token)
                self._stats["decode_s"] = time.perf_counter() - started
                self._stats["decode_tokens"] = done + 1
                yield token
                if token in stop:
                    self.stop_reason = "eos"
                    return
        self.stop_reason = "length" if steps >= count else "context"

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits [V] of the last position run."""
        last: npt.NDArray[np.float32] = self._logits(self._values.get("rows", 1))[-1]
        return last

    def logprobs(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Log-probabilities of ids chosen for these positions, if `configure` asked for them."""
        check_positions(self.plan, start, stop)
        can_sample(self.plan, Sampling(logprobs=True))
        return self.machine.read(self._buffers["logprobs"], "f32", [stop - start], start)

    def score(self, ids: Sequence[int], past: int) -> npt.NDArray[np.float32]:
        """Feed ids, in chunks; return the logits [len(ids), V] of every position."""
        check_tokens(self.plan, ids, past)
        rows = []
        for part, at in chunks(self.plan, ids, past, "score"):
            self._bind(part, at, rows=len(part))
            self._enqueue("score", at)
            rows.append(self._logits(len(part)))
            self.machine.write(self._buffers["ids"], np.array(part, np.int32), 4 * at)
        return np.concatenate(rows)

    def save_state(self, path: Path, past: int, note: Mapping[str, Any]) -> None:
        """Write the first `past` positions of text and states to a file."""

        def read(buffer: int, offset: int, count: int) -> bytes:
            return self.machine.read(self.machine.buffers[buffer], "u8", [count], offset).tobytes()

        ids = self.held_ids(past)
        state_file.save(path, self.plan, self._digest, ids, self.reached, note, read)

    def load_state(self, path: Path) -> int:
        """Take text and states from a file; return its `past`."""
        saved = state_file.load(path, self.plan, self._digest)
        self.machine.write(self._buffers["ids"], np.array(saved.ids, np.int32))
        for buffer, offset, content in saved.pieces():
            self.machine.write(
                self.machine.buffers[buffer], np.frombuffer(content, np.uint8), offset
            )
        self._held, self.reached = saved.ids, saved.reached
        return saved.past

    def held_ids(self, past: int) -> list[int]:
        """The ids at the first `past` positions."""
        return check_held(self._held[: self.reached], past)

    def stats(self) -> dict[str, Any]:
        """Figures of the last runs; host time is this code plus the enqueue calls."""
        tokens = max(1, int(self._stats["decode_tokens"]))
        return {
            "prefill_s": self._stats["prefill_s"],
            "decode_s": self._stats["decode_s"],
            "host_us_per_token": 1e6 * self._stats["enqueue_s"] / tokens,
            "dispatches_per_token": len(self._phase("decode").launches),
            "peak_rss_bytes": _peak_rss_bytes(),
        }

    def start_profile(self) -> None:
        """Note from here on when each kernel runs."""
        self.machine.noted = []

    def take_profile(self) -> list[Span]:
        """What ran since `start_profile`."""
        return self.machine.take_profile()

    def close(self) -> None:
        """Give the device's memory back."""
        self._ready.clear()
        self.machine.close()

    def tensor(self, phase: str, name: str) -> npt.NDArray[Any]:
        """What a tensor holds now, in its shape at the last run (scratch may be overwritten)."""
        ready = self._phase(phase)
        counts = {
            "scratch": len(ready.phase.scratch),
            "buffer": len(self.plan.buffers),
            "weight": len(self.plan.weights),
        }
        for ref in ((kind, index) for kind, count in counts.items() for index in range(count)):
            if self.machine.item(ready, ref).name == name:
                return self.machine.tensor(ready, ref, self._values)
        raise PocketError(f"phase {phase} has no tensor '{name}'")

    def _phase(self, name: str) -> Ready:
        if name not in self._ready:
            phase = self.plan.phase(name)
            if phase is None:
                raise PocketError(f"the plan has no phase '{name}'", hint=RECOMPILE)
            ready = self.machine.prepare(phase)
            self._same.check()
            self._ready[name] = ready
        return self._ready[name]

    def _bind(self, ids: Sequence[int], past: int, rows: int = 1) -> None:
        """Give the device tokens and symbols; from here on it advances `past` itself."""
        known = {"seq": len(ids), "past": past, "rows": rows}
        self._values = {s.name: known.get(s.name, s.min) for s in self.plan.symbols}
        self._held[past:] = ids
        self.machine.write(self._buffers["tokens"], np.array(ids, np.int32))
        self.machine.write(self.machine.symbols, np.array([*self._values.values()], np.int32))

    def _enqueue(self, name: str, past: int) -> Callable[[], int]:
        """Enqueue a phase; the answer waits for it and gives the id that it chose (score: 0)."""
        ready, started = self._phase(name), time.perf_counter()
        self._values["past"] = past
        self.reached = advanced(self.reached, past, self._values["seq"])
        values, waits = dict(self._values), list[Callable[[], None]]()
        token = np.zeros(1, np.int32)

        def fetch(index: int) -> None:
            if self.plan.buffers[index].name == "ids":
                place = values["past"] + values["seq"]
                waits.append(self.machine.read_later(self._buffers["ids"], token, place))

        after = (lambda step: self._dump(ready, step, values)) if self.dump else None
        self.machine.run(ready, values, fetch, after)
        self._stats["enqueue_s"] += time.perf_counter() - started

        def answer() -> int:
            for wait in waits:
                wait()
            return int(token[0])

        return answer

    def _logits(self, rows: int) -> npt.NDArray[np.float32]:
        """The first rows of the logits buffer: logits() and score() fetch them when asked."""
        shape = [rows, int(self.plan.model["vocab_size"])]
        return self.machine.read(self._buffers["logits"], "f32", shape)

    def _dump(self, ready: Ready, number: int, values: Mapping[str, int]) -> None:
        step = ready.phase.steps[number]
        if not isinstance(step, Dispatch):
            return
        for ref in (step.args[written] for written in step.writes):
            name = self.machine.item(ready, ref).name
            if ALL in self.dump or name in self.dump:
                value = self.machine.tensor(ready, ref, values)
                self.sink(Dumped(ready.phase.name, number, step.name, name, value))


def _check_kind(plan: Plan) -> None:
    kind, batch = plan.model.get("kind"), plan.model.get("batch")
    if kind != "language-model" or batch != 1:
        raise PocketError(
            f"the plan is a {kind} of batch {batch}",
            "generation takes a language model of batch 1",
            "compile a language model with --batch 1",
        )


def _peak_rss_bytes() -> int:
    """VmHWM: getrusage would count the parent process before exec as well."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
