"""How long the phases of a plan take on a device: a roofline for each dispatch, and its launch."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from toolkit.compiler.cost.predicted import seconds_of
from toolkit.compiler.cost.rates import Rates
from toolkit.compiler.cost.work import made_from, of_records, program_of, work_of
from toolkit.compiler.lowering.kernel_case import KernelCase
from toolkit.devices.match import Profile
from toolkit.errors import PocketError
from toolkit.plan.phase_choice import PhaseChoice
from toolkit.plan.schema import Dispatch, Gather, Phase, Plan, dispatches_of
from toolkit.plan.table_figures import at_once

LAUNCHES = "launches"  # the part of the time that belongs to no family
Seconds = dict[str, float]  # by family of kernels


@dataclass(frozen=True)
class Step:
    """A run of a phase: the time of each family, and what its dispatches move and compute."""

    seconds: Mapping[str, float]
    bytes: int
    operations: int


@dataclass
class Clock:
    """The predicted times of a plan on a device."""

    plan: Plan
    facts: Profile  # of the device
    rates: Rates
    _made: dict[str, list[tuple[KernelCase, int]]] = field(default_factory=dict)
    _steps: dict[tuple[str, int, int], Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Which phase runs for how many tokens."""
        self._choice = PhaseChoice(self.plan)

    def prefill(self, tokens: int) -> Seconds:
        """Of a prompt in chunks, up to its first new token."""
        chunk = int(self.plan.model["prefill_chunk"])
        total: Seconds = {}
        for past in range(0, tokens, chunk):
            for family, seconds in self.step(min(chunk, tokens - past), past).seconds.items():
                total[family] = total.get(family, 0.0) + seconds
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
        batch = int(self.plan.model["batch"])
        works = [(work_of(made, symbols, batch), count) for made, count in self._cases(phase)]
        moved = sum(count * work.bytes for work, count in works)
        resident = moved <= self.rates.cache_bytes  # a small model's step finds all it reads there
        seconds: Seconds = {}
        for work, count in works:
            taken = count * seconds_of(work, self.rates, resident)
            seconds[work.family] = seconds.get(work.family, 0.0) + taken
        seconds[LAUNCHES] = self._launches(phase)
        return Step(seconds, moved, sum(count * work.operations for work, count in works))

    def _launches(self, phase: Phase) -> float:
        count = sum(times for _, _, times in self._launched(phase))
        if phase.cooperative is None:
            return count * self.rates.launch.value
        return self.rates.launch.value + count * self.rates.step.value

    def _cases(self, phase: Phase) -> list[tuple[KernelCase, int]]:
        """What its dispatches compute: equal ones, one per layer, are counted."""
        if phase.name not in self._made:
            found = Counter[tuple[int, int]]()
            for dispatch, most, times in self._launched(phase):
                found[program_of(dispatch, self.facts), most] += times
            self._made[phase.name] = [
                (of_records(made_from(self.plan.programs[number]), most), count)
                for (number, most), count in found.items()
            ]
        return self._made[phase.name]

    def _launched(self, phase: Phase) -> Iterator[tuple[Dispatch, int, int]]:
        """Each dispatch, the records that it runs over at once, and how often it is launched.

        Nothing tells how many records a gather will select: all of them are counted.
        """
        for step in phase.steps:
            most, times = 0, 1
            if isinstance(step, Gather):
                most = at_once(self.plan, step, self.plan.points[-1].cluster)
                times = -(-self.plan.tables[step.table].count // most)
            for dispatch in dispatches_of(step):
                yield dispatch, most, times
