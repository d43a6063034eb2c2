"""When each kernel ran: what an executor opened with `profile=True` notes, and what it tells."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Protocol


@dataclass(frozen=True)
class Span:
    """One dispatch; times in nanoseconds of the device's clock."""

    run: int  # counts the runs of phases: a chunk of a prefill, a decode step
    phase: str
    name: str  # of the step in the plan
    kernel: str
    queued: int
    submitted: int
    started: int
    ended: int


class Profiled(Protocol):
    """What an executor opened with `profile=True` can do besides."""

    def start_profile(self) -> None:
        """Note from here on when each kernel runs."""

    def take_profile(self) -> list[Span]:
        """What ran since `start_profile`."""


def runs_of(spans: Sequence[Span]) -> list[list[Span]]:
    """The spans of each run, in order."""
    return [list(run) for _, run in groupby(spans, key=lambda span: span.run)]


def length_s(spans: Sequence[Span]) -> float:
    """Seconds from the first kernel's start to the last one's end."""
    return 1e-9 * (max(s.ended for s in spans) - min(s.started for s in spans))


def overhead_us(spans: Sequence[Span]) -> float | None:
    """Step wall time less the span of its kernels, in a token loop: the median of its steps.

    A step's wall time goes from the end of the last step's kernels to the end of its own.
    """
    runs = runs_of(spans)
    between = [after[0].started - before[-1].ended for before, after in pairwise(runs)]
    return statistics.median(between) / 1e3 if between else None
