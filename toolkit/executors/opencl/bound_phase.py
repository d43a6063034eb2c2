"""A phase with its memory placed and its kernels built and bound."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import pyopencl as cl

from toolkit.executors.opencl.variants import BoundDispatch
from toolkit.plan.expr import evaluate, symbols_of
from toolkit.plan.schema import Dispatch, Gather, Phase, Prefetch

Values: TypeAlias = Mapping[str, int]  # of the symbols
Place: TypeAlias = tuple[int, ...]  # of a dispatch: the step, and within a gather its number there
Grid: TypeAlias = tuple[int, ...]


class BoundPhase:
    """What the steps of a phase run with; `scratch` is the memory of its tensors."""

    def __init__(
        self, phase: Phase, scratch: list[cl.Buffer], dispatches: Mapping[Place, BoundDispatch]
    ) -> None:
        self.phase, self.scratch, self.dispatches = phase, scratch, dict(dispatches)
        self.ran = False  # to its end: its variants can be launched
        self._grids: dict[tuple[Place, Grid], Grid] = {}
        self._used: dict[Place, tuple[str, ...]] = {}
        for place in dispatches:
            self._note_sizes(place)

    def replace(self, place: Place, dispatch: BoundDispatch) -> None:
        """Another variant of a dispatch."""
        self.dispatches[place] = dispatch
        self._note_sizes(place)

    def _note_sizes(self, place: Place) -> None:
        sizes = self.dispatches[place].variant.global_size
        self._used[place] = tuple({symbol for size in sizes for symbol in symbols_of(size)})
        self._grids.clear()

    def grid(self, place: Place, values: Values) -> Grid:
        """The global size of a dispatch; evaluated once per value of the symbols in it."""
        key = place, tuple(values[name] for name in self._used[place])
        if key not in self._grids:
            sizes = self.dispatches[place].variant.global_size
            self._grids[key] = tuple(evaluate(size, values) for size in sizes)
        return self._grids[key]


def dispatches_of(phase: Phase) -> Iterator[tuple[Place, Dispatch, Gather | None]]:
    """All dispatches of a phase, and the gather that each is inside of."""
    for number, step in enumerate(phase.steps):
        if isinstance(step, Dispatch):
            yield (number,), step, None
        if isinstance(step, Gather):
            for inside, dispatch in enumerate(step.inside()):
                yield (number, inside), dispatch, step
        if isinstance(step, Prefetch):
            yield from (((number, i), each, None) for i, each in enumerate(step.dispatches))
