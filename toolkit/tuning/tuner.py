"""`pocketcl tune`: find faster knobs for a plan's kernels by timing whole steps of the plan.

A candidate is the plan with other knobs, run by the runner with kernel times; it is interleaved
with what it is compared to. Since times are per dispatch, one candidate measures every kernel at
once: each takes its next value of a knob. Whole steps read weights from memory, as in every run of
the plan.
"""

import datetime
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from opencl_kernels.kernel import Knobs
from opencl_kernels.tuned import changed
from toolkit.bench.load import driver_cache
from toolkit.bench.trials import PAUSE
from toolkit.compiler import tuned
from toolkit.compiler.lowering.kernel_case import KernelCase, Site
from toolkit.devices.profiles import match, profiles
from toolkit.errors import PocketError
from toolkit.executors.open import open_executor
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan
from toolkit.tuning.candidate import Candidate
from toolkit.tuning.candidate_plan import (
    Choice,
    defaults,
    local_memory,
    tunable,
    with_knobs,
)
from toolkit.tuning.choice import Round, best, candidates, stages
from toolkit.tuning.report import judged, lines

__all__ = ["lines", "tune"]


def tune(
    plan_path: Path,
    save: bool = False,
    kernels: Sequence[str] = (),
    repeats: int = 7,
    progress: Callable[..., None] | None = None,
    opener: Callable[..., Any] = open_executor,
) -> dict[str, Any]:
    """Find knobs and store them for later compiles; keys as in `pocketcl tune --json`.

    save     also write the table that is shipped, in a checkout
    kernels  only these
    repeats  rounds of every candidate
    """
    started = time.perf_counter()
    plan = load_plan(plan_path)
    profile = str(plan.profile["name"])
    files = [tuned.user_file(profile), *([tuned.check_checkout(profile)] if save else [])]
    with tempfile.TemporaryDirectory(prefix="pocketcl-") as folder:
        tuner = Tuner(plan_path, plan, kernels, repeats, Path(folder), opener)
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
            figures, choice = tuner.judge(choice)
            tuner.keep(files, choice)
    seconds = round(time.perf_counter() - started, 3)
    return {**figures, "files": [str(file) for file in files], "seconds": seconds}


class Tuner:
    """A plan, and candidates of its knobs."""

    def __init__(
        self,
        path: Path,
        plan: Plan,
        kernels: Sequence[str],
        repeats: int,
        folder: Path,
        opener: Callable[..., Any],
    ) -> None:
        self.path, self.plan, self.repeats = path, plan, repeats
        self.folder, self.opener = folder, opener
        self.tell: Callable[..., None] = lambda *_: None
        self.kind, self.room = str(plan.profile["class"]), local_memory(plan)
        self.kernel_cases: dict[Site, KernelCase] = tunable(plan, kernels)
        self.usual: Choice = defaults(self.kernel_cases, plan)
        self.facts: dict[str, str] = {}  # of the device, once something ran on it
        self.opened = 0

    def stage(self, number: int, now: Choice) -> Choice:
        """Try the values of every kernel's knob of this number; return the best of each."""
        tried = list(candidates(self.kernel_cases, now, number, self.kind, self.room))
        if not tried:
            return now
        knob = f"knob {number + 1} of {stages(self.kernel_cases)}"
        before, *after = self.rounds(knob, [now, *tried])
        pairs = list(zip(tried, after, strict=True))
        return {site: best(site, before, pairs) or now[site] for site in now}

    def judge(self, choice: Choice) -> tuple[dict[str, Any], Choice]:
        """The report, and the choice without the knobs that don't beat the defaults once more."""
        differs = any(self.changed(site, knobs) for site, knobs in choice.items())
        tried = [self.usual, choice] if differs else [self.usual]
        measured = self.rounds("comparing with the defaults", tried)
        figures, won = judged(choice, measured[0], measured[-1], self.changed)
        kept = {site: knobs if site in won else self.usual[site] for site, knobs in choice.items()}
        return {**self.facts, "repeats": self.repeats, **figures}, kept

    def rounds(self, what: str, choices: Sequence[Choice]) -> list[list[Round]]:
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
            tuned.write_table(file, self.facts, table)

    def _open(self, choice: Choice) -> Candidate:
        self.opened += 1
        folder, plan = self.folder / f"{self.opened}.plan", with_knobs(self.plan, choice)
        candidate = Candidate(folder, self.path, plan, self.opener, self.folder / "programs")
        if not self.facts:
            try:
                self.facts = facts_of(self.plan, candidate.executor.ready)
            except BaseException:
                candidate.executor.close()
                raise
        return candidate


def facts_of(plan: Plan, ready: dict[str, Any]) -> dict[str, str]:
    """Device and date, for the table; raises if the plan was compiled for another device."""
    device, profile = str(ready["device"]), str(plan.profile["name"])
    here = match(ready["platform"], device, profiles())
    if here != profile:
        raise PocketError(
            f"the plan was compiled for {profile}, but {device} is {here}",
            "knobs are only valid for the device that they were measured on",
            "compile the model for the device here: pocketcl compile SRC -o PLAN",
        )
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"profile": profile, "device": device, "driver": str(ready["driver"]), "date": today}
