"""The C++ runner as an executor: one process per loaded plan, spoken to line by line.

The protocol is described in android_runner/program/protocol.h.
"""

import contextlib
import json
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.executors.history import History
from toolkit.executors.interface import StopReason
from toolkit.executors.runner_options import command_of, words_of
from toolkit.executors.runner_process import Process, device_of
from toolkit.executors.sampling import Sampling
from toolkit.executors.spans import Span
from toolkit.executors.target import Local, Target
from toolkit.executors.text_checks import (
    can_sample,
    check_expected,
    check_one_text,
    check_positions,
    check_states,
    check_tokens,
)
from toolkit.offload.points import (
    budget_of,
    engine_of,
    flash_of,
    least_memory,
    memory_of,
    overlap_of,
)
from toolkit.plan import state_file
from toolkit.plan.load import SamePlan, load_plan
from toolkit.plan.phase_choice import PhaseChoice, names_of
from toolkit.plan.schema import Plan


class RunnerExecutor:
    """The Executor that runs a plan in the C++ runner, here or on a phone."""

    def __init__(
        self,
        plan_path: Path,
        phases: Sequence[str] = (),
        platform: str | None = None,
        cache: Path | str | None = None,
        profile: bool = False,
        recorded: str | None = None,
        cooperative: str | None = None,
        target: Target | None = None,
        priority: str | None = None,
        memory: int | str | None = None,
        flash: str | None = None,
        trace: Path | None = None,
        warm: Path | str = "off",
        overlap: str | None = None,
        engine: str | None = None,
    ) -> None:
        """Load a plan.

        phases    that are loaded besides those that give ids; those that score: when first used
        platform  part of an OpenCL platform's or device's name; default $POCKETCL_PLATFORM
        cache     folder of program binaries; default $XDG_CACHE_HOME/pocketcl/programs, or
                  the phone's own
        profile   take kernel times between start_profile and take_profile
        recorded  replay decode steps: auto (measured), on or off; default $POCKETCL_RECORDED
        cooperative  each in one launch, on CPUs; likewise, default $POCKETCL_COOPERATIVE
        target    where it runs; default: on this computer
        priority  what the driver is asked for: low, normal or high; default $POCKETCL_PRIORITY
        memory    that a plan with weights in flash may take: bytes, or as "2G" or "50%" of what it
                  takes with all of them in memory, or "auto": of what the system has; default: as
                  it was compiled for
        flash     a profile that its reads imitate; default: they are as fast as the storage is
        trace     a file that gets a line for each gather (toolkit/offload/access_trace.py)
        warm      a plan with weights in flash begins with what it had in memory at its last end:
                  auto, off, or a folder where that is kept in place of the machine's own
        overlap   what launches over weights in flash wait for: `cluster`: own reads; `matrix`:
                  all of a gather's, but for what is in memory; `off`, all, and none begin earlier;
                  default $POCKETCL_OVERLAP
        engine    what computes weights in flash: `device`; `threads`; or `both`: threads
                  what is read, the device what was in memory; default $POCKETCL_ENGINE, or as the
                  plan's point says
        """
        self._same = SamePlan(Path(plan_path))
        self.plan: Plan = load_plan(Path(plan_path), note=lambda _: None)  # the runner notes it
        check_one_text(self.plan)
        check_states(self.plan)
        most = budget_of(self.plan, memory)
        # a run that follows the system may take the least
        known = least_memory(self.plan) if isinstance(most, str) else most
        wanted = {"--memory": most, "--flash": flash_of(self.plan, flash)}
        self.stop_reason: StopReason = "length"
        self.target: Target = target or Local()
        self.name = self.target.executor
        wishes = {"recorded": recorded, "cooperative": cooperative, "priority": priority}
        wishes["overlap"] = overlap_of(self.plan, overlap)
        wishes["engine"] = engine_of(self.plan, engine)
        # Copies to a phone, and the C++ compiler's time, are no part of loading.
        self._arguments = [
            *command_of(self.target, Path(plan_path), self.plan, platform, cache, known, **wishes),
            *(["--profile"] if profile else []),
            *words_of({**wanted, "--trace-access": trace, "--warm": self.target.warm(warm)}),
        ]
        self.history = History(self.plan)
        self._choice = PhaseChoice(self.plan)
        self._expected = 0  # tokens of the text
        self._sampling = ""  # the command that says how ids are chosen
        self._budget = ""  # the one that changed the budget last
        self._flash = ""  # and the flash that is imitated
        self._earlier: dict[str, Any] = {}
        self._process: Process | None = None
        ids = names_of(self._choice.giving("ids"))
        self._start((*ids, *(name for name in phases if name not in ids)))

    def configure(self, sampling: Sampling) -> None:
        """How ids are chosen from here on; greedily until this is called."""
        if can_sample(self.plan, sampling):
            self._sampling = f"sampling {_words(sampling.words().tolist())}"
            self._alive().ask(self._sampling)

    def expect(self, tokens: int) -> None:
        """How many tokens the text will have, as far as that is known; 0: not at all."""
        if check_expected(self.plan, tokens) != self._expected:
            self._expected = tokens
            self._alive().ask(f"expect {tokens}")

    def prefill(self, ids: Sequence[int], past: int) -> int:
        """Feed ids, in chunks; return the next id."""
        check_tokens(self.plan, ids, past)
        return int(self._feed(f"prefill {past} {_words(ids)}", ids, past)[1])

    def step(self, token: int, past: int) -> int:
        """Feed one forced token through the decode phase; return the next id."""
        check_tokens(self.plan, [token], past)
        return int(self._feed(f"step {past} {token}", [token], past)[1])

    def decode(
        self, token: int, past: int, count: int, stop: Collection[int]
    ) -> Generator[int, None, None]:
        """Feed `token`, yield the next id, feed it, … at most `count`; closing cancels."""
        self.stop_reason = "cancel"  # holds when the caller closes the generator
        process = self._alive()
        self.history.reach(past, 1)
        process.send(f"decode {past} {token} {count} {_words(sorted(stop))}")
        running, ids = True, list[int]()
        try:
            while True:
                try:
                    word, value, *_ = process.answer()
                except PocketError:
                    running = False  # it has answered
                    raise
                if word == "done":
                    running, self.stop_reason = False, cast(StopReason, value)
                    return
                ids.append(int(value))
                # The device is up to two steps ahead of the id that has come.
                self.history.reach(past + len(ids), 2)
                yield ids[-1]
        finally:
            self.history.note([token, *ids[:-1]] if ids else [], past)  # the last is not fed yet
            if running:
                self._cancel(process, past + len(ids))

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits [V] of the last position run."""
        self._alive().ask("logits logits.f32")
        return self._read("logits.f32")

    def logprobs(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Log-probabilities of ids chosen for these positions, if `configure` asked for them."""
        check_positions(self.plan, start, stop)
        can_sample(self.plan, Sampling(logprobs=True))
        return np.array(self._alive().ask(f"logprobs {start} {stop}")[1:], np.float32)

    def score(self, ids: Sequence[int], past: int) -> npt.NDArray[np.float32]:
        """Feed ids, in chunks; return the logits [len(ids), V] of every position."""
        check_tokens(self.plan, ids, past)
        scoring = names_of(self._choice.giving("logits"))
        if missing := [name for name in scoring if name not in self._phases]:
            self._start((*self._phases, *missing))
            self._replay(past)
        self._feed(f"score {past} score.f32 {_words(ids)}", ids, past)
        return self._read("score.f32").reshape(len(ids), -1)

    def save_state(self, path: Path, past: int, note: Mapping[str, Any]) -> None:
        """Write the first `past` positions of text and states to a file."""
        text = f"\t{json.dumps(dict(note))}" if note else ""
        with self.target.saving(Path(path)) as name:
            self._alive().ask(f"save {past} {name}{text}")

    def load_state(self, path: Path) -> int:
        """Take text and states from a file; return its `past`."""
        with self.target.loading(Path(path)) as name:
            _, past, reached = self._alive().ask(f"load {name}")
        self.history.restore(state_file.read_ids(path), int(reached))
        return int(past)

    def budget(self, memory: int | str) -> int:
        """What the plan may take of memory from here on; see interface.Executor."""
        command = f"budget {memory_of(self.plan, memory)}"
        taken = int(self._alive().aside(command)[1])
        self._budget = command
        return taken

    def imitate(self, flash: str) -> None:
        """Reads take as long as on this flash from here on; it was opened with one."""
        self._flash = f"flash {flash_of(self.plan, flash)}"
        self._alive().ask(self._flash)

    def stats(self) -> dict[str, Any]:
        """Figures of the last runs, and of the process."""
        found: dict[str, Any] = json.loads(self._alive().ask("stats")[1])
        # A process that was started again for `score` knows nothing of the runs before.
        return {key: value or self._earlier.get(key, value) for key, value in found.items()}

    def start_profile(self) -> None:
        """Note from here on when each kernel runs."""
        self._alive().ask("profile")

    def take_profile(self) -> list[Span]:
        """What ran since `start_profile`."""
        self._alive().ask("profile profile.json")
        text = self.target.fetch("profile.json").read_text(encoding="utf-8")
        return [Span(**entry) for entry in json.loads(text)]

    def start_halves(self) -> None:
        """Count from here on what stored halves hold."""
        self._alive().ask("halves")

    def take_halves(self) -> list[dict[str, Any]]:
        """The counts since `start_halves`."""
        self._alive().ask("halves halves.json")
        text = self.target.fetch("halves.json").read_text(encoding="utf-8")
        found: list[dict[str, Any]] = json.loads(text)
        return found

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process:
            process.end()
        self.target.close()

    def _start(self, phases: Sequence[str]) -> None:
        """Start the runner with these phases, in place of the one that runs."""
        started, first = time.perf_counter(), self._process is None
        if self._process:
            self._earlier = self.stats()
            self._process.end()
        self._phases = tuple(phases)
        arguments = [*self._arguments, "--phases", ",".join(phases)]
        self._process = process = Process(self.target, arguments, notes=first)
        try:
            self.ready: dict[str, Any] = json.loads(process.answer()[1])
            self._same.check()  # the runner has read it by itself
        except BaseException:
            self.close()
            raise
        for command in filter(None, (self._sampling, self._budget, self._flash)):
            process.ask(command)
        if self._expected:
            process.ask(f"expect {self._expected}")
        self.device = device_of(self.ready)
        self.load_s = time.perf_counter() - started

    def _alive(self) -> Process:
        if self._process is None:
            raise PocketError("the runner is closed", "close() was called", "open it again")
        return self._process

    def _feed(self, command: str, ids: Sequence[int], past: int) -> list[str]:
        process = self._alive()
        self.history.fail(past, len(ids))  # until it has answered
        words = process.ask(command)
        self.history.note(ids, past)
        return words

    def _replay(self, past: int) -> None:
        """Give the states what they held before position `past`."""
        ids = self.history.first(min(past, self.history.length))
        if ids:
            self._alive().ask(f"prefill 0 {_words(ids)}")
            self.history.reach(0, len(ids))

    def _cancel(self, process: Process, past: int) -> None:
        """End a decode whose ids nobody wants any more."""
        ahead = 0
        with contextlib.suppress(PocketError):  # a runner that died says so at the next command
            ahead = sum(words[0] == "id" for words in process.cancel())
        self.history.reach(past, ahead + 2)
        # A ring holds its window and one chunk: further ahead the runner has overwritten the past.
        if ahead >= int(self.plan.model["prefill_chunk"]):
            self._replay(past)

    def _read(self, name: str) -> npt.NDArray[np.float32]:
        return np.fromfile(self.target.fetch(name), "<f4").astype(np.float32, copy=False)


def _words(ids: Collection[int]) -> str:
    return " ".join(str(int(token)) for token in ids)
