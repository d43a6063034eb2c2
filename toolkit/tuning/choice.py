"""Which knobs are better: pure decisions on times that were taken in turn."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from opencl_kernels.kernel import Knobs
from opencl_kernels.tuned import values_of
from toolkit.compiler.lowering.variants import Programs
from toolkit.tuning.trial_plan import Choice, KernelCase, Site

MARGIN = 0.03  # a gain below this is no gain
SHARE = 0.01  # of a step: what takes less is left alone, its times are noise
WHOLE: Site = ("", "")  # a step from its first kernel's start to its last one's end
# Seconds of each site in each kind of step ("decode"), as one round found them.
Round: TypeAlias = Mapping[tuple[Site, str], float]


@dataclass(frozen=True)
class Compared:
    """How many times as fast one was as the other, over rounds in turn."""

    ratio: float  # the median
    low: float
    high: float
    spread: float  # from the median to the farther quartile

    @property
    def better(self) -> bool:
        """A gain beyond the margin and beyond the spread."""
        return self.ratio - 1 > max(MARGIN, self.spread)

    @property
    def worse(self) -> bool:
        """A loss beyond the margin and beyond the spread."""
        return 1 - self.ratio > max(MARGIN, self.spread)


def compare(before: Sequence[float], after: Sequence[float]) -> Compared:
    """The ratios of neighbouring rounds; above 1 where `after` is faster."""
    ratios = [b / a for b, a in zip(before, after, strict=True)]
    # Each twice, so that a single round has quartiles too.
    low, middle, high = statistics.quantiles(ratios * 2, n=4, method="inclusive")
    return Compared(middle, min(ratios), max(ratios), max(middle - low, high - middle))


def per_step(site: Site, before: Sequence[Round], after: Sequence[Round]) -> dict[str, Compared]:
    """The comparison in every kind of step that the site has a share in.

    None at all where `after` lacks one: its kernel did not build, and another ran in its place.
    """
    steps = [step for at, step in before[0] if at == site and _share(site, step, before) >= SHARE]
    if not all((site, step) in each for each in after for step in steps):
        return {}
    return {
        step: compare([r[site, step] for r in before], [r[site, step] for r in after])
        for step in steps
    }


def _share(site: Site, step: str, rounds: Sequence[Round]) -> float:
    return statistics.median(each[site, step] / each[WHOLE, step] for each in rounds)


def verdict(steps: Mapping[str, Compared]) -> tuple[str, Compared] | None:
    """The step that gains most; None where no step gains, or one loses."""
    gains = {step: found for step, found in steps.items() if found.better}
    if not gains or any(found.worse for found in steps.values()):
        return None
    return max(gains.items(), key=lambda item: item[1].ratio)


def best(
    site: Site, before: Sequence[Round], trials: Sequence[tuple[Choice, Sequence[Round]]]
) -> Knobs | None:
    """The knobs of the best trial; None where none is better than before."""
    found: list[tuple[float, Knobs]] = []
    for choice, rounds in trials:
        gain = verdict(per_step(site, before, rounds)) if rounds else None
        if gain:
            found.append((gain[1].ratio, choice[site]))
    return max(found, key=lambda each: each[0])[1] if found else None


def stages(kernel_cases: Mapping[Site, KernelCase]) -> int:
    """Knobs are tried one after the other: as many stages as the kernel with most of them has."""
    return max(len(each.kernel.knobs) for each in kernel_cases.values())


def trials(
    kernel_cases: Mapping[Site, KernelCase], now: Choice, stage: int, device_class: str, room: int
) -> Iterator[dict[Site, Knobs]]:
    """Choices for a stage: every site takes its next other value of one knob, all at once.

    room  bytes of local memory that a work-group may take
    """
    others = {
        site: list(_others(kernel_case, now[site], stage, device_class, room))
        for site, kernel_case in kernel_cases.items()
    }
    for number in range(max(map(len, others.values()))):
        yield {
            site: each[number] if number < len(each) else now[site] for site, each in others.items()
        }


def _others(
    kernel_case: KernelCase, now: Knobs, stage: int, device_class: str, room: int
) -> Iterator[Knobs]:
    """The present knobs with each other value of one, where it finds room and changes anything."""
    names = list(kernel_case.kernel.knobs)
    if stage >= len(names):
        return
    programs = Programs()
    seen = [kernel_case.variant(now, 1, programs)]
    for value in values_of(kernel_case.kernel, names[stage], device_class):
        knobs = {**now, names[stage]: value}
        variant = kernel_case.variant(knobs, 1, programs)
        if variant not in seen and (variant.local_bytes or 0) <= room:
            seen.append(variant)
            yield knobs
