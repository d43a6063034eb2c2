"""One trial: a plan with some choice of knobs, loaded, and rounds of its steps on the clock."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from toolkit.plan import Plan
from toolkit.profile import Span, length_s, runs_of
from toolkit.tune_choice import WHOLE, Round
from toolkit.tune_plan import PHASES, Spot, product_of, write_trial

SHORT = 8  # tokens of a short prompt: a turn of a chat, or the end of a long prompt
DECODED = 8  # tokens in a round
TIMES = 4  # that it is fed in a round: it is over soon, and quickly disturbed
Layout = dict[str, list[tuple[str, Spot | None]]]  # of each phase: names and spots in order


class Trial:
    """A loaded plan; each `round` is a short prompt, a whole chunk and decode steps behind it."""

    def __init__(
        self,
        folder: Path,
        plan_path: Path,
        plan: Plan,
        opener: Callable[..., Any],
        cache: Path,
    ) -> None:
        """Write the plan to `folder`, and load it."""
        write_trial(folder, plan_path, plan)
        self.layout, self.prompts = layout_of(plan), dict(_prompts(plan))
        self.executor = opener(folder, "runner", profile=True, cache=cache)

    def __enter__(self) -> "Trial":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.executor.close()

    def round(self) -> Round:
        """Seconds of every spot in each kind of step."""
        found: dict[tuple[Spot, str], float] = {}
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

    def _seconds(self, step: str) -> dict[tuple[Spot, str], float]:
        runs = [seconds_of(run, self.layout) for run in runs_of(self.executor.take_profile())]
        spots = {spot for run in runs for spot in run}
        return {
            (spot, step): statistics.median(run[spot] for run in runs if spot in run)
            for spot in spots
        }


def layout_of(plan: Plan) -> Layout:
    """The dispatches of the phases that are timed."""
    products = [product_of(program) for program in plan.programs]

    def spot(number: int) -> Spot | None:
        product = products[number]
        return product.spot if product else None

    return {
        phase.name: [(d.name, spot(d.variants[0].program)) for d in phase.dispatches()]
        for phase in plan.phases
        if phase.name in PHASES
    }


def seconds_of(run: Sequence[Span], layout: Layout) -> dict[Spot, float]:
    """Seconds of every spot in one run; dispatches of size zero are no part of it."""
    found: dict[Spot, float] = {WHOLE: length_s(run)}
    dispatches = iter(layout[run[0].phase])
    for span in run:
        spot = next((spot for name, spot in dispatches if name == span.name), None)
        if spot is not None and span.kernel == spot[0]:
            found[spot] = found.get(spot, 0.0) + 1e-9 * (span.ended - span.started)
    return found


def _prompts(plan: Plan) -> Iterator[tuple[str, list[int]]]:
    from toolkit.verify import random_ids

    room = int(plan.model["max_context"]) - DECODED
    longest = max(1, min(int(plan.model["prefill_chunk"]), room))
    for length in sorted({min(SHORT, longest), longest}):
        yield f"prefill {length}", random_ids(plan, length)
