"""Who runs in a benchmark, and in turn: rivals share every minute of the machine's moods."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from toolkit.executors.interface import Executor

PAUSE = 0.05  # seconds between two contestants: threads of the one before go to sleep


@dataclass(frozen=True)
class Turn:
    """One prompt, and the tokens decoded after it."""

    prefill_s: float  # to the first token
    decode_s: float | None  # per token after the first; None: nothing was decoded
    ids: tuple[int, ...]  # the new ones
    at_s: float = 0.0  # when it began, by this computer's steady clock


class Contestant(Protocol):
    """Something that runs the model."""

    name: str

    def start(self, prompt: Sequence[int]) -> int:
        """Forget everything, feed a prompt, return the greedy next id."""

    def decode(self, token: int, count: int) -> Iterator[int]:
        """Feed the token, yield the next id, feed it, …"""


class Ours:
    """An executor as a contestant."""

    def __init__(self, executor: Executor) -> None:
        self.executor, self.name, self.past = executor, executor.name, 0

    def start(self, prompt: Sequence[int]) -> int:
        """Feed a prompt at position 0."""
        self.past = len(prompt)
        return self.executor.prefill(prompt, 0)

    def decode(self, token: int, count: int) -> Iterator[int]:
        """The executor's own token loop."""
        return self.executor.decode(token, self.past, count, ())


def take_turn(contestant: Contestant, prompt: Sequence[int], count: int) -> Turn:
    """A prefill, then `count` decode steps, on the clock."""
    at_s, started = time.monotonic(), time.perf_counter()
    token = contestant.start(prompt)
    first = time.perf_counter()
    ids = list(contestant.decode(token, count)) if count else []
    decode_s = (time.perf_counter() - first) / len(ids) if ids else None
    return Turn(first - started, decode_s, (token, *ids), at_s)


def take_turns(
    contestants: Sequence[Contestant],
    prompts: Sequence[Sequence[int]],
    new_tokens: int,
    repeats: int,
    tell: Callable[..., None],
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[list[Turn]]]:
    """Every contestant's turns, [prompt][repeat]: A B A B …, after a warm-up of each.

    Only the last prompt is decoded after. `between` is called before each repeat.
    """
    tell("warming up")
    for contestant in contestants:
        for prompt in prompts:
            take_turn(contestant, prompt, min(new_tokens, 8) if prompt is prompts[-1] else 0)
    turns: dict[str, list[list[Turn]]] = {c.name: [[] for _ in prompts] for c in contestants}
    for repeat in range(repeats):
        between()
        for number, prompt in enumerate(prompts):
            tell(f"repeat {repeat + 1} of {repeats}, prompt of {len(prompt)}")
            count = new_tokens if prompt is prompts[-1] else 0
            for contestant in contestants:
                if len(contestants) > 1:
                    time.sleep(PAUSE)
                turns[contestant.name][number].append(take_turn(contestant, prompt, count))
    return turns


def figures_of(seconds: Sequence[float], tokens: int = 1) -> dict[str, Any]:
    """Median, rate and spread of repeats that took `tokens` each."""
    middle = statistics.median(seconds)
    return {"seconds": middle, "tokens_per_s": tokens / middle, "spread": spread(seconds)}


def spread(values: Sequence[float]) -> float:
    """Largest minus smallest, as a share of the median."""
    return (max(values) - min(values)) / statistics.median(values)
