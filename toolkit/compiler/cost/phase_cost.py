"""How long the dispatches of a phase take on a device, each by its roofline; gathers apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from toolkit.compiler.cost.predicted import seconds_of
from toolkit.compiler.cost.rates import Rates
from toolkit.compiler.cost.work import (
    Symbols,
    Work,
    made_from,
    of_records,
    program_of,
    work_of,
)
from toolkit.compiler.lowering.kernel_case import KernelCase
from toolkit.devices.match import Profile
from toolkit.errors import PocketError
from toolkit.plan.schema import Dispatch, Gather, Phase, Plan, Prefetch

LAUNCHES = "launches"  # the part of the time that belongs to no family


@dataclass(frozen=True)
class Step:
    """A run of a phase: the time of each family, and what its dispatches move and compute."""

    seconds: Mapping[str, float]
    bytes: int
    operations: int

    @property
    def whole(self) -> float:
        """Seconds of all."""
        return sum(self.seconds.values())


def runs_of(phase: Phase) -> int:
    """Dispatches that follow each other, with no gather between: each run is one launch."""
    kinds = [isinstance(step, Dispatch) for step in phase.steps]
    return sum(now and not before for before, now in zip([False, *kinds], kinds, strict=False))


@dataclass
class PhaseCost:
    """Of a plan, as it is read, on a device.

    partly  a dispatch whose work the plan doesn't tell counts as its launch; else it is an error
    """

    plan: Plan
    facts: Profile  # of the device
    rates: Rates
    partly: bool = False
    _made: dict[str, list[tuple[KernelCase, int]]] = field(default_factory=dict)

    def step(self, phase: Phase, symbols: Symbols, records: int = 0) -> Step:
        """Of the dispatches that are in no gather; `records`: bytes that its gathers compute."""
        alone = [step for step in phase.steps if isinstance(step, Dispatch)]
        if phase.name not in self._made:
            self._made[phase.name] = self._cases(alone)
        works = [(self._work(made, symbols), count) for made, count in self._made[phase.name]]
        moved = sum(count * work.bytes for work, count in works)
        cached = moved + records <= self.rates.cache_bytes  # what is read is there since last time
        seconds: dict[str, float] = {}
        for work, count in works:
            taken = count * seconds_of(work, self.rates, cached)
            seconds[work.family] = seconds.get(work.family, 0.0) + taken
        seconds[LAUNCHES] = self._launches(phase, len(alone))
        return Step(seconds, moved, sum(count * work.operations for work, count in works))

    def gathered(self, gather: Gather, records: int, symbols: Symbols) -> float:
        """Seconds of a gather's dispatches over so many records, launches apart."""
        return sum(
            seconds_of(self._work(of_records(made, records), symbols), self.rates) * count
            for made, count in self._cases(gather.dispatches)
        )

    def ahead(self, phase: Phase, prefetch: Prefetch, symbols: Symbols) -> float:
        """Seconds of what a prefetch computes by itself."""
        works = [(self._work(c, symbols), n) for c, n in self._cases(prefetch.dispatches)]
        count, launch = len(prefetch.dispatches), self.rates.launch.value
        launches = count * launch
        if phase.cooperative is not None:  # one run more
            launches = launch + self.rates.wake.value + count * self.rates.step.value
        return launches + sum(n * seconds_of(work, self.rates) for work, n in works)

    def _launches(self, phase: Phase, count: int) -> float:
        if phase.cooperative is None:
            return count * self.rates.launch.value
        # after a gather's wait cores sleep; steps without one are sent ahead
        wake = self.rates.wake.value if phase.gathers() else 0.0
        run = self.rates.launch.value + wake
        return runs_of(phase) * run + count * self.rates.step.value

    def _work(self, made: KernelCase, symbols: Symbols) -> Work:
        return work_of(made, symbols, int(self.plan.model["batch"]))

    def _cases(self, dispatches: Sequence[Dispatch]) -> list[tuple[KernelCase, int]]:
        """What they compute: equal ones, one per layer, are counted."""
        found = Counter(program_of(each, self.facts) for each in self._known(dispatches))
        return [(made_from(self.plan.programs[n]), count) for n, count in found.items()]

    def _known(self, dispatches: Iterable[Dispatch]) -> Iterable[Dispatch]:
        for each in dispatches:
            try:
                made_from(self.plan.programs[program_of(each, self.facts)])
            except PocketError:
                if not self.partly:
                    raise
                continue
            yield each
