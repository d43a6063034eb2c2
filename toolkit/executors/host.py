"""Language models on pyopencl: chunked prefill, decode, scoring, with dumps on request."""

import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.executors.dump import Sink, check_names, print_dumped
from toolkit.executors.history import History
from toolkit.executors.interface import StopReason
from toolkit.executors.opencl import states
from toolkit.executors.opencl.dumps import Dumps
from toolkit.executors.opencl.gather.gatherer import OVERLAPS
from toolkit.executors.opencl.phases import PhaseExecutor
from toolkit.executors.sampling import Sampling
from toolkit.executors.spans import Span
from toolkit.executors.target import ThisComputer
from toolkit.executors.text_checks import (
    can_sample,
    check_expected,
    check_one_text,
    check_positions,
    check_states,
    check_tokens,
    checked_id,
    chunks,
)
from toolkit.offload.points import budget_of, engine_of, memory_of, overlap_of
from toolkit.plan.load import SamePlan, load_plan, plan_digest
from toolkit.plan.phase_choice import PhaseChoice, names_of
from toolkit.plan.reader import RECOMPILE
from toolkit.rss import peak_rss


class HostExecutor:
    """A language model's plan on a device of this machine; see `interface.Executor`.

    platform  part of the name of an OpenCL platform or device, else $POCKETCL_PLATFORM
    profile   take kernel times between start_profile and take_profile
    dump      names of tensors ("all": every one) that `sink` gets after each step that writes them
    memory    that a plan with weights in flash may take: bytes, or as "2G" or "50%" of what it
              takes with all of them in memory, or "auto": of what the system has; default: as it
              was compiled for
    flash     None: what is read here has no time that tells of another flash
    trace     a file that gets a line for each gather (toolkit/offload/access_trace.py)
    engine    what computes weights in flash: `device`; `threads`, which here is numpy, in no less
              time; or `both`; default: as the plan's point says
    warm      a plan with weights in flash begins with what it had in memory at its last end: auto,
              off, or a folder where that is kept in place of $XDG_CACHE_HOME/pocketcl/warm
    """

    name = "host"

    def __init__(
        self,
        path: Path,
        platform: str | None = None,
        dump: Collection[str] = (),
        sink: Sink = print_dumped,
        profile: bool = False,
        memory: int | str | None = None,
        flash: str | None = None,
        trace: Path | None = None,
        warm: Path | str = "off",
        overlap: str | None = None,
        engine: str | None = None,
    ) -> None:
        started = time.perf_counter()
        self._same = SamePlan(path)
        self.plan = load_plan(path)
        check_one_text(self.plan)
        check_states(self.plan)
        check_names(self.plan, dump)
        if flash is not None:
            raise _times_nothing(f"--flash {flash:.40} can't be imitated here")
        if overlap_of(self.plan, overlap) not in (None, *OVERLAPS):
            raise _reads_in_parts(f"--overlap {overlap:.40} can't be had here")
        wanted = budget_of(self.plan, memory)
        self._choice = PhaseChoice(self.plan)
        loaded = names_of(self._choice.giving("ids"))  # those that score: when they are first used
        self.target = ThisComputer()
        kept = self.target.warm(warm)
        computing = engine_of(self.plan, engine)
        gathering = (wanted, trace, Path(kept) if kept else None, overlap, computing)
        self.phases = PhaseExecutor(path, self.plan, loaded, platform, profile, *gathering)
        self.device = self.phases.device
        self._dumps = Dumps(self.phases, dump, sink)
        self.stop_reason: StopReason = "length"
        self.history = History(self.plan)
        self._digest = plan_digest(path)
        self._expected = 0  # tokens of the text
        self._rows = 1  # of logits that the last run left
        self._stats = {"prefill_s": 0.0, "decode_s": 0.0, "enqueue_s": 0.0, "decode_tokens": 0}
        for phase in loaded:
            self._load(phase)
        self.load_s = time.perf_counter() - started

    def configure(self, sampling: Sampling) -> None:
        """How ids are chosen from here on; greedily until this is called."""
        if can_sample(self.plan, sampling):
            self.phases.write("sampling", sampling.words())

    def expect(self, tokens: int) -> None:
        """How many tokens the text will have, as far as that is known; 0: not at all."""
        self._expected = check_expected(self.plan, tokens)

    def prefill(self, ids: Sequence[int], past: int) -> int:
        """Feed ids, in chunks; return the next id."""
        check_tokens(self.plan, ids, past)
        started = time.perf_counter()
        for part, at in chunks(self.plan, ids, past):
            self._bind(part, at, past + len(ids))
            fetched = self._enqueue(at, len(part))
        token = checked_id(fetched(), past + len(ids) - 1)
        self._stats["prefill_s"] = time.perf_counter() - started
        return token

    def step(self, token: int, past: int) -> int:
        """Feed one forced token through the decode phase; return the next id."""
        check_tokens(self.plan, [token], past)
        self._bind([token], past, past + 1)
        return checked_id(self._enqueue(past)(), past)

    def decode(
        self, token: int, past: int, count: int, stop: Collection[int]
    ) -> Generator[int, None, None]:
        """Feed `token`, yield the next id, feed it …; see `_steps`."""
        self.stop_reason = "cancel"  # holds when the caller closes the generator
        steps = min(count, int(self.plan.model["max_context"]) - past)
        if steps > 0:
            check_tokens(self.plan, [token], past)
            started, self._stats["enqueue_s"] = time.perf_counter(), 0.0
            self._bind([token], past, past + 1)
            for done, fetched in enumerate(self._steps(past, steps)):
                token = checked_id(fetched(), past + done)
                self.history.append(token)
                self._stats["decode_s"] = time.perf_counter() - started
                self._stats["decode_tokens"] = done + 1
                yield token
                if token in stop:
                    self.stop_reason = "eos"
                    return
        self.stop_reason = "length" if steps >= count else "context"

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits [V] of the last position run."""
        last: npt.NDArray[np.float32] = self._logits(self._rows)[-1]
        return last

    def logprobs(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Log-probabilities of ids chosen for these positions, if `configure` asked for them."""
        check_positions(self.plan, start, stop)
        can_sample(self.plan, Sampling(logprobs=True))
        return self.phases.read("logprobs", "f32", [stop - start], start)

    def score(self, ids: Sequence[int], past: int) -> npt.NDArray[np.float32]:
        """Feed ids, in chunks; return the logits [len(ids), V] of every position."""
        check_tokens(self.plan, ids, past)
        rows = list[npt.NDArray[np.float32]]()
        for part, at in chunks(self.plan, ids, past, "logits"):
            self._bind(part, at, past + len(ids), rows=len(part))
            self._run("logits", partial(self._take_logits, rows, len(part)), at, len(part))
            self.phases.write("ids", np.array(part, np.int32), 4 * at)
        return np.concatenate(rows)

    def save_state(self, path: Path, past: int, note: Mapping[str, Any]) -> None:
        """Write the first `past` positions of text and states to a file."""
        states.save(path, self.phases, self._digest, self.history, past, note)

    def load_state(self, path: Path) -> int:
        """Take text and states from a file; return its `past`."""
        return states.load(path, self.phases, self._digest, self.history)

    def budget(self, memory: int | str) -> int:
        """What the plan may take of memory from here on; see interface.Executor."""
        found = memory_of(self.plan, memory)
        assert found is not None
        return self.phases.budget(found)

    def stats(self) -> dict[str, Any]:
        """Figures of the last runs; host time is this code plus the enqueue calls."""
        tokens = max(1, int(self._stats["decode_tokens"]))
        return {
            "prefill_s": self._stats["prefill_s"],
            "decode_s": self._stats["decode_s"],
            "host_us_per_token": 1e6 * self._stats["enqueue_s"] / tokens,
            "dispatches_per_token": self.phases.dispatches(self._phase("ids", 0, 1)),
            "peak_rss_bytes": peak_rss(),
            **self.phases.gathered(),
        }

    def start_profile(self) -> None:
        """Note from here on when each kernel runs."""
        self.phases.start_profile()

    def take_profile(self) -> list[Span]:
        """What ran since `start_profile`."""
        return self.phases.take_profile()

    def close(self) -> None:
        """Give the device's memory back."""
        self.phases.close()

    def start_halves(self) -> None:
        """Count from here on what stored halves hold, in place of dumps."""
        self._dumps.start_halves()

    def take_halves(self) -> list[dict[str, Any]]:
        """The counts since `start_halves`."""
        return self._dumps.take_halves()

    def tensor(self, phase: str, name: str) -> npt.NDArray[Any]:
        """What a tensor holds now, in its shape at the last run (scratch may be overwritten)."""
        return self.phases.tensor(phase, name)

    def _load(self, phase: str) -> None:
        if self.phases.load(phase):
            self._same.check()

    def _bind(self, ids: Sequence[int], past: int, end: int, rows: int = 1) -> None:
        """Give the device tokens and symbols; from here on it advances `past` itself.

        end  where the text will be when all that the caller feeds has been
        """
        self.phases.write("tokens", np.array(ids, np.int32))
        whole = max(self._expected, end)
        self.phases.bind({"seq": len(ids), "past": past, "rows": rows, "text_length": whole})
        self.history.feed(ids, past)
        self._rows = rows

    def _phase(self, gives: str, past: int, count: int) -> str:
        """The phase that feeds `count` tokens: it gives the next id, or logits of every row."""
        values = {"seq": count, "past": past, "rows": 1 if gives == "ids" else count}
        found = self._choice.find(gives, values)
        if found is None:
            because = f"none takes {count} tokens at position {past}"
            raise PocketError(f"the plan has no phase that gives {gives}", because, RECOMPILE)
        return found.name

    def _run(self, gives: str, take: Callable[[], None], past: int, count: int) -> None:
        """Enqueue the phase that gives a buffer; `take` is called where it hands it over."""
        phase = self._phase(gives, past, count)
        self._load(phase)
        started = time.perf_counter()
        self.phases.advance("past", past)
        self.history.reach(past, count)
        try:
            after = self._dumps.after(phase)
            self.phases.run(phase, lambda buffer: take() if buffer == gives else None, after)
            self.phases.govern(count)
        except BaseException:
            self.history.fail(past, count)
            raise
        self._stats["enqueue_s"] += time.perf_counter() - started

    def _enqueue(self, past: int, count: int = 1) -> Callable[[], int]:
        """Enqueue the next step; the answer waits for it and gives the id that it chose."""
        waits, token = list[Callable[[], None]](), np.zeros(1, np.int32)

        def take() -> None:
            waits.append(self.phases.read_later("ids", token, past + count))

        self._run("ids", take, past, count)

        def answer() -> int:
            for wait in waits:
                wait()
            return int(token[0])

        return answer

    def _steps(self, past: int, count: int) -> Iterator[Callable[[], int]]:
        """The answer of each step.

        The next one is enqueued before, unless it waits for flash: then it would keep the id back,
        and read in vain where this was the last one.
        """
        sent, ahead = deque[Callable[[], int]](), 1 if self.plan.tables else 2
        enqueued = 0
        for done in range(count):
            for at in range(enqueued, min(count, done + ahead)):
                sent.append(self._enqueue(past + at))
            enqueued = min(count, done + ahead)
            yield sent.popleft()

    def _logits(self, rows: int) -> npt.NDArray[np.float32]:
        """The first rows of the logits buffer."""
        return self.phases.read("logits", "f32", [rows, int(self.plan.model["vocab_size"])])

    def _take_logits(self, into: list[npt.NDArray[np.float32]], rows: int) -> None:
        into.append(self._logits(rows))


def _reads_in_parts(what: str) -> PocketError:
    because = "the host has room for one launch's reads at a time, not for all of a network"
    return PocketError(what, because, "--overlap cluster, --overlap off, or --on runner")


def _times_nothing(what: str) -> PocketError:
    because = "the host reads, copies and computes one after the other: its times tell of no flash"
    return PocketError(what, because, "use --on runner")
