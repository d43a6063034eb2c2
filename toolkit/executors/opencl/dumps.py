"""What tensors hold right after the steps that write them."""

from collections.abc import Callable, Collection
from typing import Any

from toolkit.executors.dump import ALL, Dumped, Sink
from toolkit.executors.halves import Halves
from toolkit.executors.opencl.phases import PhaseExecutor
from toolkit.plan.schema import Dispatch, Gather


class Dumps:
    """Of the tensors that are named ("all": of every one); `sink` gets them."""

    def __init__(self, phases: PhaseExecutor, names: Collection[str], sink: Sink) -> None:
        self._phases, self._names, self._sink = phases, frozenset(names), sink
        self._halves = Halves()

    def start_halves(self) -> None:
        """Count from here on what stored halves hold, in place of dumps."""
        self._halves = Halves()
        self._names, self._sink = frozenset({ALL}), self._halves

    def take_halves(self) -> list[dict[str, Any]]:
        """The counts since `start_halves`; nothing is dumped after."""
        self._names = frozenset()
        return self._halves.list()

    def after(self, phase: str) -> Callable[[int], None] | None:
        """What is to be done after each step of a phase; None: nothing."""
        return (lambda step: self._dump(phase, step)) if self._names else None

    def _dump(self, phase: str, number: int) -> None:
        declared = self._phases.plan.phase(phase)
        step = declared.steps[number] if declared else None
        for dispatch in step.inside() if isinstance(step, Gather) else (step,):
            if not isinstance(dispatch, Dispatch):
                continue
            for ref in (dispatch.args[written] for written in dispatch.writes):
                name = self._phases.name_of(phase, ref)
                if ALL in self._names or name in self._names:
                    value = self._phases.argument(phase, ref)
                    self._sink(Dumped(phase, number, dispatch.name, name, value))
