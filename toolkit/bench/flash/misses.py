"""What each token misses, by the trace of a run: a mean hides the tokens that a user waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from toolkit.bench.flash.what_if import Steps, steps_of
from toolkit.bench.trials import Ours, percentile, run_trial
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.offload.access_trace import BEFORE, Line, gather_lines
from toolkit.plan.schema import Plan

KEYS = ("misses_per_token", "miss_mean", "miss_p99")


@dataclass(frozen=True)
class Traced:
    """A run: what gathers selected, and what tokens missed.

    selected, missed  records of each decoded token
    """

    lines: Sequence[Line]
    steps: Steps
    selected: Sequence[int]
    missed: Sequence[int]

    def figures(self) -> dict[str, Any]:
        """Keys of `pocketcl bench --json`: records of a token, and shares of what it selects."""
        shares = [m / n if n else 0.0 for m, n in zip(self.missed, self.selected, strict=True)]
        mean = sum(self.missed) / max(1, sum(self.selected))
        values = sum(self.missed) / len(shares), mean, percentile(shares, 0.99)
        return dict(zip(KEYS, values, strict=True))

    def most_held(self, plan: Plan, pinned: Sequence[int]) -> int:
        """Bytes of all records in memory where they were most, of a run that began with these."""
        gathers = [gather.table for phase in plan.phases for gather in phase.gathers()]
        sizes = [table.bytes for table in plan.tables]
        held = sum(size * count for size, count in zip(sizes, pinned, strict=True))
        return max(_held(self.lines, held, [sizes[table] for table in gathers]), default=held)


def traced_run(
    plan_path: Path,
    on: str,
    prompt: Sequence[int],
    new_tokens: int,
    options: Mapping[str, Any],
    opener: Callable[..., Executor] = open_executor,
) -> Traced:
    """Of the second of two equal texts: the first one fills the cache."""
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        executor = opener(plan_path, on, **options, trace=trace, warm="off")
        try:
            for _ in range(2):
                run_trial(Ours(executor), prompt, new_tokens)
        finally:
            executor.close()
        return traced(trace, new_tokens)


def traced(trace: Path, decoded: int) -> Traced:
    """By a trace, whose last `decoded` runs of a phase are tokens."""
    lines = [line for line in gather_lines(trace) if line["t"] > BEFORE]
    runs = [list(run) for _, run in groupby(lines, lambda line: line["t"])][-decoded:]
    selected = [sum(len(each["sel"]) for each in run) for run in runs]
    missed = [sum(len(each["sel"]) - each["hit"] for each in run) for run in runs]
    return Traced(lines, steps_of(trace), selected, missed)


def _held(lines: Sequence[Line], held: int, sizes: Sequence[int]) -> Iterator[int]:
    """After each gather; `sizes`: bytes of a record by the gather's number."""
    for each in lines:
        held += (len(each["admit"]) - len(each["evict"])) * sizes[each["g"]]
        yield held
