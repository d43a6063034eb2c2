"""How long the phases of a plan take on a device: a roofline for each dispatch, and its launch."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from toolkit.compiler.budget.gather_time import GatherTime
from toolkit.compiler.cost.phase_cost import LAUNCHES, PhaseCost, Step
from toolkit.compiler.cost.rates import Rates
from toolkit.devices.match import Profile
from toolkit.errors import PocketError
from toolkit.plan.phase_choice import PhaseChoice, pieces
from toolkit.plan.schema import Phase, Plan, Point

__all__ = ["GATHERS", "LAUNCHES", "Clock", "Seconds", "Step"]
GATHERS = "gathers"  # the part of the time that records of tables take, read and computed
Seconds = dict[str, float]  # by family of kernels


@dataclass
class Clock:
    """The predicted times of a plan on a device.

    gathers  where it has tables: their times; `point`: at which it runs
    """

    plan: Plan
    facts: Profile  # of the device
    rates: Rates
    gathers: GatherTime | None = None
    point: Point | None = None
    _steps: dict[tuple[str, int, int], Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Which phase runs for how many tokens, and what its dispatches cost."""
        self._choice = PhaseChoice(self.plan)
        self._cost = PhaseCost(self.plan, self.facts, self.rates)

    def prefill(self, tokens: int) -> Seconds:
        """Of a prompt in pieces, up to its first new token."""
        total: Seconds = {}
        past = 0
        for count in pieces(self.plan, tokens):
            for family, seconds in self.step(count, past).seconds.items():
                total[family] = total.get(family, 0.0) + seconds
            past += count
        return total

    def decode(self, past: int) -> Seconds:
        """Of one token behind `past` others."""
        return dict(self.step(1, past).seconds)

    def step(self, seq: int, past: int) -> Step:
        """Of `seq` tokens that are fed at once behind `past` others."""
        phase = self._choice.find("ids", {"seq": seq, "past": past, "rows": 1})
        if phase is None:
            hint = "estimate the plan of a language model"
            because = f"no phase takes {seq} tokens after {past}"
            raise PocketError("this plan generates no text", because, hint)
        key = (phase.name, seq, past)
        if key not in self._steps:
            self._steps[key] = self._run(phase, seq, past)
        return self._steps[key]

    def _run(self, phase: Phase, seq: int, past: int) -> Step:
        symbols = {"seq": seq, "past": past, "rows": 1, "text_length": past + seq}
        if self.gathers is None or self.point is None:
            return self._cost.step(phase, symbols)
        computed = round(self.gathers.computed(phase))
        beside = self._cost.step(phase, symbols, computed)
        taken = self.gathers.seconds(phase, symbols, self.point, beside.whole)
        return _with(beside, {GATHERS: taken}, computed)


def _with(step: Step, more: Mapping[str, float], nbytes: int) -> Step:
    return Step({**step.seconds, **more}, step.bytes + nbytes, step.operations)
