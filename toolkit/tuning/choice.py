"""Decide which knobs are better, from interleaved measurements; no I/O."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from opencl_kernels.case import symbols_of_texts
from opencl_kernels.kernel import Knobs
from opencl_kernels.tuned import values_of
from toolkit.compiler.lowering.kernel_case import KernelCase, Site
from toolkit.compiler.lowering.variants import Programs
from toolkit.tuning.candidate_plan import Choice

MARGIN = 0.03  # a gain below this is no gain
SHARE = 0.01  # a site that takes less of a step is not tuned: its times are noise
WHOLE: Site = ("", "")  # a whole step, from the first kernel's start to the last one's end
# Seconds of each site in each kind of step (such as "decode"), measured in one round.
Round: TypeAlias = Mapping[tuple[Site, str], float]


@dataclass(frozen=True)
class Compared:
    """The speed-up of one choice over another, over interleaved rounds."""

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

    Empty if `after` lacks one of them: its kernel did not build, and another ran instead.
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
    """The step that gains most; None if no step gains, or any step loses."""
    gains = {step: found for step, found in steps.items() if found.better}
    if not gains or any(found.worse for found in steps.values()):
        return None
    return max(gains.items(), key=lambda item: item[1].ratio)


def best(
    site: Site, trials: Sequence[tuple[Choice, Sequence[Round], Sequence[Round]]]
) -> Knobs | None:
    """The knobs of the best candidate; None if none is better than before.

    trials  of each candidate: rounds of what stands, and its own, interleaved
    """
    found: list[tuple[float, Knobs]] = []
    for choice, before, rounds in trials:
        gain = verdict(per_step(site, before, rounds)) if rounds else None
        if gain:
            found.append((gain[1].ratio, choice[site]))
    return max(found, key=lambda each: each[0])[1] if found else None


def stages(kernel_cases: Mapping[Site, KernelCase]) -> int:
    """How many stages there are: one for each knob of the kernel with the most knobs."""
    return max(len(each.kernel.knobs) for each in kernel_cases.values())


def candidates(
    kernel_cases: Mapping[Site, KernelCase], now: Choice, stage: int, device_class: str, room: int
) -> Iterator[dict[Site, Knobs]]:
    """The choices to try in a stage: in each, every site takes its next value of one knob.

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
    """The current knobs with each other value of one that fits and changes the variant."""
    names = list(kernel_case.kernel.knobs)
    if stage >= len(names):
        return
    programs, symbols = Programs(), symbols_of_texts(kernel_case.case.B)
    seen = [kernel_case.variant(now, symbols, programs)]
    for value in values_of(kernel_case.kernel, names[stage], device_class):
        knobs = {**now, names[stage]: value}
        variant = kernel_case.variant(knobs, symbols, programs)
        if variant not in seen and (variant.local_bytes or 0) <= room:
            seen.append(variant)
            yield knobs
