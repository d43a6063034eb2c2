"""Runners for the tuner that measure nothing: kernels take as long as a test says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from toolkit.executors.spans import Span
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Dispatch
from toolkit.tuning.back_end import Here

READY = {"device": "a CPU", "driver": "3.1", "platform": "Portable Computing Language"}


class Fake:
    """A runner whose kernels take as long as `seconds` says of a dispatch's program and size."""

    ready = READY

    def __init__(self, path: Path, seconds: Callable[[Any, Any], int]) -> None:
        self.plan, self.seconds, self.spans = load_plan(path), seconds, list[Span]()
        self.runs = self.clock = 0

    def start_profile(self) -> None:
        self.spans = []

    def take_profile(self) -> list[Span]:
        return self.spans

    def prefill(self, ids: Any, past: int) -> int:
        self.run("prefill")
        return 1

    def decode(self, token: int, past: int, count: int, stop: Any) -> Any:
        for _ in range(count):
            self.run("decode")
            yield 1

    def close(self) -> None:
        pass

    def run(self, name: str) -> None:
        phase = self.plan.phase(name)
        assert phase is not None
        for step in phase.steps:
            if isinstance(step, Dispatch):
                self.note(phase.name, step)
        self.runs += 1

    def note(self, phase: str, step: Dispatch) -> None:
        variant = step.variants[0]
        program = self.plan.programs[variant.program]
        begin, self.clock = self.clock, self.clock + self.seconds(program, variant)
        times = (begin, begin, begin, self.clock)
        self.spans.append(Span(self.runs, phase, step.name, program.kernel, *times))


def opener(seconds: Callable[[Any, Any], int]) -> Any:
    return Here(lambda path, on, **options: Fake(path, seconds))


def likes_16(program: Any, variant: Any) -> int:
    """Nanoseconds: gemv_cpu is faster with PREFETCH 16, and with 4 groups."""
    if program.kernel != "gemv_cpu":
        return 1000
    lines = dict(program.defines)["PREFETCH"]
    return 1000 - 200 * (lines == "16") - 100 * (variant.global_size == (4,))
