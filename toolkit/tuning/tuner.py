"""`pocketcl tune`: find faster knobs for a plan's kernels by timing whole steps of the plan.

A candidate is the plan with other knobs, run by the runner with kernel times; it is interleaved
with what it is compared to. Since times are per dispatch, one candidate measures every kernel at
once: each takes its next value of a knob. Whole steps read weights from memory, as in every run of
the plan.
"""

import datetime
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

from opencl_kernels.kernel import Knobs
from opencl_kernels.tuned import changed
from toolkit.bench.load import driver_cache
from toolkit.bench.trials import PAUSE
from toolkit.compiler import tuned
from toolkit.compiler.lowering.kernel_case import KernelCase, Site
from toolkit.errors import PocketError
from toolkit.phone.adb import Gone
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan
from toolkit.tuning.back_end import BackEnd, Here, OnPhone
from toolkit.tuning.candidate import Candidate
from toolkit.tuning.candidate_plan import (
    Choice,
    defaults,
    local_memory,
    tunable,
    with_knobs,
)
from toolkit.tuning.choice import Round, best, candidates, stages
from toolkit.tuning.journal import Journal
from toolkit.tuning.report import judged, lines

__all__ = ["lines", "tune"]

Trial: TypeAlias = tuple[Choice, Sequence[Round], Sequence[Round]]  # with what stood before


def tune(
    plan_path: Path,
    save: bool = False,
    kernels: Sequence[str] = (),
    repeats: int = 7,
    progress: Callable[..., None] | None = None,
    on: str = "runner",
    serial: str | None = None,
    budget: float | None = None,
    back_end: BackEnd | None = None,
) -> dict[str, Any]:
    """Find knobs and store them for later compiles; keys as in `pocketcl tune --json`.

    save     also write the table that is shipped, in a checkout
    kernels  only these
    repeats  rounds of every candidate
    on       where: runner or phone
    serial   which phone
    budget   seconds after which no further candidate is tried; the best so far is then judged
    """
    started = time.perf_counter()
    plan = load_plan(plan_path)
    profile = str(plan.profile["name"])
    files = [tuned.user_file(profile), *([tuned.check_checkout(profile)] if save else [])]
    with tempfile.TemporaryDirectory(prefix="pocketcl-") as folder:
        where = back_end or (OnPhone(serial) if on == "phone" else Here())
        tuner = Tuner(plan_path, plan, kernels, repeats, Path(folder), where)
        tuner.deadline = None if budget is None else started + budget
        tuner.tell = progress or tuner.tell
        with driver_cache(
            tuner.folder / "driver"
        ):  # the programs of candidates are of no use later
            choice = tuner.usual
            for number in range(stages(tuner.kernel_cases)):
                choice = tuner.stage(number, choice)
                found = {
                    site: knobs for site, knobs in choice.items() if tuner.changed(site, knobs)
                }
                tuner.keep(files, found)  # so that Ctrl-C keeps the stages that are done
            figures, kept = tuner.judge(choice)
            tuner.keep(files, tuner.decided(choice, kept))
            if tuner.complete:
                tuner.journal.done()
    seconds = round(time.perf_counter() - started, 3)
    written = [str(file) for file in files]
    return {**figures, "complete": tuner.complete, "files": written, "seconds": seconds}


class Tuner:
    """A plan, and candidates of its knobs."""

    def __init__(
        self,
        path: Path,
        plan: Plan,
        kernels: Sequence[str],
        repeats: int,
        folder: Path,
        back_end: BackEnd,
    ) -> None:
        self.path, self.plan, self.repeats = path, plan, repeats
        self.folder, self.back_end = folder, back_end
        self.tell: Callable[..., None] = lambda *_: None
        self.kind, self.room = str(plan.profile["class"]), local_memory(plan)
        self.kernel_cases: dict[Site, KernelCase] = tunable(plan, kernels)
        self.usual: Choice = defaults(self.kernel_cases, plan)
        self.facts: dict[str, str] = {}  # of the device, once something ran on it
        self.opened = 0
        self.deadline: float | None = None  # of time.perf_counter
        self.complete = True  # nothing was left out for want of time
        self.journal: Journal = back_end.journal(path, plan, sorted(kernels), repeats)

    def device(self) -> dict[str, str]:
        """Facts of it; where a journal holds all that was compared, the plan is loaded for them."""
        if not self.facts:
            self._open(self.usual).executor.close()
        return self.facts

    def stage(self, number: int, now: Choice) -> Choice:
        """Try the values of every kernel's knob of this number; return the best of each."""
        tried = list(candidates(self.kernel_cases, now, number, self.kind, self.room))
        if not tried:
            return now
        knob = f"knob {number + 1} of {stages(self.kernel_cases)}"
        batches = self._batches(tried)
        trials = [trial for batch in batches for trial in self._trials(knob, now, batch)]
        return {site: best(site, trials) or now[site] for site in now}

    def _batches(self, tried: Sequence[Choice]) -> Iterator[Sequence[Choice]]:
        """What is loaded at once, for as long as there is time."""
        size = self.back_end.together or len(tried)
        for start in range(0, len(tried), size):
            if self.deadline is not None and time.perf_counter() >= self.deadline:
                self.complete = False
                return
            yield tried[start : start + size]

    def _trials(self, knob: str, now: Choice, batch: Sequence[Choice]) -> Iterator[Trial]:
        before, *after = self.rounds(knob, [now, *batch])
        return ((choice, before, rounds) for choice, rounds in zip(batch, after, strict=True))

    def judge(self, choice: Choice) -> tuple[dict[str, Any], Choice]:
        """The report, and the choice without the knobs that don't beat the defaults once more."""
        differs = any(self.changed(site, knobs) for site, knobs in choice.items())
        tried = [self.usual, choice] if differs else [self.usual]
        measured = self.rounds("comparing with the defaults", tried)
        figures, won = judged(choice, measured[0], measured[-1], self.changed)
        kept = {site: knobs if site in won else self.usual[site] for site, knobs in choice.items()}
        return {**self.device(), "repeats": self.repeats, **figures}, kept

    def decided(self, choice: Choice, kept: Choice) -> Choice:
        """What the table may say: a default only where everything was tried, or a gain was lost.

        choice, kept  before and after the comparison with the defaults
        """
        if self.complete:
            return kept
        return {site: kept[site] for site, knobs in choice.items() if self.changed(site, knobs)}

    def rounds(self, what: str, choices: Sequence[Choice]) -> list[list[Round]]:
        """The rounds of every choice: those in the journal, or measured."""
        known = self.journal.find(what, choices)
        if known is None:
            known = self._measured(what, choices)
            self.journal.note(what, choices, known)
        return known

    def _measured(self, what: str, choices: Sequence[Choice]) -> list[list[Round]]:
        """The rounds of every choice, interleaved as A B C A B C …, after a warm-up of each.

        A choice that can't be loaded has no rounds: its knobs ask too much of the device. If that
        is the first one, raises.
        """
        found: list[list[Round]] = [[] for _ in choices]
        with ExitStack() as stack:
            opened = dict[int, Candidate]()
            for number, choice in enumerate(choices):
                self.tell(f"{what}: building kernels", number, len(choices))
                try:
                    opened[number] = stack.enter_context(self._open(choice))
                    opened[number].round()
                except Gone:  # that says nothing about the knobs
                    raise
                except PocketError:
                    opened.pop(number, None)
                    if number == 0:
                        raise
            for repeat in range(self.repeats):
                self.tell(what, repeat, self.repeats)
                for number, candidate in opened.items():
                    time.sleep(PAUSE)
                    found[number].append(candidate.round())
        return found

    def changed(self, site: Site, knobs: Knobs) -> dict[str, int]:
        """The knobs that are not at their default."""
        return changed(knobs, self.usual[site])

    def keep(self, files: Sequence[Path], choice: Choice) -> None:
        """Write a choice as a table."""
        table: dict[str, dict[str, Knobs]] = {}
        for (name, shape), knobs in choice.items():
            table.setdefault(name, {})[shape] = self.changed((name, shape), knobs)
        for file in files if table else ():
            tuned.write_table(file, self.device(), table)

    def _open(self, choice: Choice) -> Candidate:
        self.opened += 1
        folder, plan = self.folder / f"{self.opened}.plan", with_knobs(self.plan, choice)
        candidate = Candidate(
            folder, self.path, plan, lambda made: self.back_end.open(made, self.folder / "programs")
        )
        if not self.facts:
            try:
                here = self.back_end.profile_of(candidate.executor)
                self.facts = facts_of(self.plan, candidate.executor.ready, here)
            except BaseException:
                candidate.executor.close()
                raise
        return candidate


def facts_of(plan: Plan, ready: dict[str, Any], here: str) -> dict[str, str]:
    """Device and date, for the table; raises if the plan was compiled for another device."""
    device, profile = str(ready["device"]), str(plan.profile["name"])
    if here != profile:
        raise PocketError(
            f"the plan was compiled for {profile}, but {device} is {here}",
            "knobs are only valid for the device that they were measured on",
            "compile the model for that device: pocketcl compile SRC -o PLAN --device …",
        )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"profile": profile, "device": device, "driver": str(ready["driver"]), "date": today}
