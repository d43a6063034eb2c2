"""Trials of one or several engines, interleaved: all meet the same changes of heat and load."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

from toolkit.executors.interface import Executor
from toolkit.offload.counts import Counts

PAUSE = 0.05  # seconds between contestants, for the previous one's threads to go to sleep


@dataclass(frozen=True)
class Trial:
    """One prompt, and the tokens decoded after it."""

    prefill_s: float  # to the first token
    decode_s: float | None  # per token after the first; None: nothing was decoded
    ids: tuple[int, ...]  # the new ones
    at_s: float = 0.0  # when it began: time.monotonic()
    token_s: tuple[float, ...] = ()  # of each decoded id, from the one before it


class Contestant(Protocol):
    """Something that runs the model."""

    name: str

    def start(self, prompt: Sequence[int]) -> int:
        """Forget everything, feed a prompt, return the greedy next id."""

    def decode(self, token: int, count: int) -> Iterator[int]:
        """Feed the token, yield the next id, feed it, …"""


class Ours:
    """An executor as a contestant.

    reads  of each trial what its prefill and its decoding read of flash; empty for other plans
    """

    def __init__(self, executor: Executor) -> None:
        self.executor, self.name, self.past = executor, executor.name, 0
        self.reads: list[list[Counts]] = []
        self._counted = Counts.of(executor.stats()) if executor.plan.tables else None

    def start(self, prompt: Sequence[int]) -> int:
        """Feed a prompt at position 0."""
        self.past = len(prompt)
        token = self.executor.prefill(prompt, 0)
        self.reads.append([])
        self._count()
        return token

    def decode(self, token: int, count: int) -> Iterator[int]:
        """The executor's own token loop."""
        yield from self.executor.decode(token, self.past, count, ())
        self._count()

    def _count(self) -> None:
        if self._counted is not None:
            counts = Counts.of(self.executor.stats())
            self.reads[-1].append(counts - self._counted)
            self._counted = counts


def run_trial(contestant: Contestant, prompt: Sequence[int], count: int) -> Trial:
    """Time a prefill, then `count` decode steps."""
    at_s, started = time.monotonic(), time.perf_counter()
    token = contestant.start(prompt)
    first = time.perf_counter()
    ids, ends = list[int](), [first]
    for each in contestant.decode(token, count) if count else ():
        ids.append(each)
        ends.append(time.perf_counter())
    decode_s = (time.perf_counter() - first) / len(ids) if ids else None
    token_s = tuple(end - begin for begin, end in pairwise(ends))
    return Trial(first - started, decode_s, (token, *ids), at_s, token_s)


def run_trials(
    contestants: Sequence[Contestant],
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    repeats: int,
    tell: Callable[..., None],
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[list[Trial]]]:
    """Every contestant's trials, [prompt][repeat]: A B A B …, after a warm-up of each.

    Decoding follows the last prompt only. `between` is called before each repeat.
    """
    tell("warming up")
    for contestant in contestants:
        for prompt in prompts:
            run_trial(contestant, prompt, min(new_tokens, 8) if prompt is prompts[-1] else 0)
    trials: dict[str, list[list[Trial]]] = {c.name: [[] for _ in prompts] for c in contestants}
    for repeat in range(repeats):
        between()
        for number, prompt in enumerate(prompts):
            tell(f"repeat {repeat + 1} of {repeats}, prompt of {len(prompt)}")
            count = new_tokens if prompt is prompts[-1] else 0
            for contestant in contestants:
                if len(contestants) > 1:
                    time.sleep(PAUSE)
                trials[contestant.name][number].append(run_trial(contestant, prompt, count))
    return trials


def figures_of(seconds: Sequence[float], tokens: int = 1) -> dict[str, Any]:
    """Median, rate and spread of repeats that processed `tokens` tokens each."""
    middle = statistics.median(seconds)
    return {"seconds": middle, "tokens_per_s": tokens / middle, "spread": spread(seconds)}


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median."""
    return (max(values) - min(values)) / statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so many of them don't pass."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def percentiles(trials: Sequence[Trial]) -> dict[str, float] | None:
    """Seconds of a token in the middle, and of the slowest ones: p50, p90, p99; None: of none."""
    seconds = [each for trial in trials for each in trial.token_s]
    if not seconds:
        return None
    return {f"p{share}": percentile(seconds, share / 100) for share in (50, 90, 99)}
