"""A choice of knobs is tried: a plan with them is loaded, and rounds of its steps are timed."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from toolkit.compiler.lowering.kernel_case import Site, kernel_case_of
from toolkit.executors.spans import Span, length_s, runs_of
from toolkit.plan.schema import Gather, Phase, Plan, dispatches_of
from toolkit.tuning.candidate_plan import timed_phases, write_candidate
from toolkit.tuning.choice import WHOLE, Round

SHORT = 8  # tokens of a short prompt: a turn of a chat, or the end of a long prompt
DECODED = 16  # tokens decoded in a round
TIMES = 4  # a short prompt is fed this often in a round: a single time is noisy
# Of each phase: names and sites in order, and where its first dispatch stands that may be next:
# a gather launches its dispatches over and over, for one part of the records after the other. What
# chooses these on the device comes once, before the first part, and only where all lie in memory.
Layout = dict[str, list[tuple[str, Site | None, int]]]


class Candidate:
    """A loaded plan; each `round` is a short prompt, a full chunk and decode steps after it."""

    def __init__(
        self,
        folder: Path,
        plan_path: Path,
        plan: Plan,
        opener: Callable[[Path], Any],
    ) -> None:
        """Write the plan to `folder`, and load it."""
        write_candidate(folder, plan_path, plan)
        self.layout, self.prompts = layout_of(plan), dict(_prompts(plan))
        self.executor = opener(folder)

    def __enter__(self) -> "Candidate":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.executor.close()

    def round(self) -> Round:
        """Seconds of every site in each kind of step."""
        found: dict[tuple[Site, str], float] = {}
        token, past = 0, 0
        for step, ids in self.prompts.items():
            self.executor.start_profile()
            for _ in range(TIMES if len(ids) <= SHORT else 1):
                token, past = self.executor.prefill(ids, 0), len(ids)
            found |= self._seconds(step)
        self.executor.start_profile()
        for _ in self.executor.decode(token, past, DECODED, ()):
            pass
        return found | self._seconds("decode")

    def _seconds(self, step: str) -> dict[tuple[Site, str], float]:
        runs = runs_of(self.executor.take_profile())
        return {(site, step): time for site, time in seconds_of(runs, self.layout).items()}


def layout_of(plan: Plan) -> Layout:
    """The dispatches of the phases that are timed, with their sites."""
    kernel_cases = [kernel_case_of(program) for program in plan.programs]

    def site(number: int) -> Site | None:
        kernel_case = kernel_cases[number]
        return kernel_case.site if kernel_case else None

    def listed(phase: Phase) -> Iterator[tuple[str, Site | None, int]]:
        end = 0
        for step in phase.steps:
            end += len(dispatches_of(step))
            again = end - len(step.dispatches) if isinstance(step, Gather) else end
            for dispatch in dispatches_of(step):
                yield dispatch.name, site(dispatch.variants[0].program), again

    return {phase.name: list(listed(phase)) for phase in timed_phases(plan)}


def seconds_of(runs: Sequence[Sequence[Span]], layout: Layout) -> dict[Site, float]:
    """Seconds of every site in a run: its median dispatch times its dispatches per run.

    A site's dispatches are equal, one per layer. Their median is robust against the few that are
    disturbed; their sum is not.
    """
    times: dict[Site, list[float]] = {WHOLE: [length_s(run) for run in runs]}
    for run in runs:
        for site, span in _dispatches(run, layout):
            times.setdefault(site, []).append(1e-9 * (span.ended - span.started))
    return {site: statistics.median(each) * len(each) / len(runs) for site, each in times.items()}


def _dispatches(run: Sequence[Span], layout: Layout) -> Iterator[tuple[Site, Span]]:
    """The spans of kernels with knobs; dispatches of size zero have no span and are skipped."""
    dispatches, begin = layout[run[0].phase], 0
    for span in run:
        rest = dispatches[begin:]
        _, site, begin = next((d for d in rest if d[0] == span.name), ("", None, len(dispatches)))
        if site is not None and span.kernel == site[0]:
            yield site, span


def _prompts(plan: Plan) -> Iterator[tuple[str, list[int]]]:
    from toolkit.evaluation.inputs import random_ids

    room = int(plan.model["max_context"]) - DECODED
    longest = max(1, min(int(plan.model["prefill_chunk"]), room))
    for length in sorted({min(SHORT, longest), longest}):
        yield f"prefill {length}", random_ids(plan, length)
