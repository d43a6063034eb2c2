"""The sampler of GPUs as a plan has it: three launches, each with what the one before has left."""

from __future__ import annotations

from typing import Any

from opencl_kernels.family import Family
from opencl_kernels.formats import Array
from opencl_kernels.launch import GUARD, built_kernel, launch_built
from opencl_kernels.sampling import slices
from opencl_kernels.sampling.sample import Choice
from opencl_kernels.tuned import default_knobs


class SlicedSampler:
    """Its kernels for the sizes of a case, built once."""

    def __init__(self, queue: Any, case: Choice, **knobs: int) -> None:
        self.queue = queue
        self.built = [self._build(family, case, knobs) for family in slices.LAUNCHES]

    def _build(self, family: Family, case: Choice, knobs: dict[str, int]) -> tuple[Any, ...]:
        (kernel,) = family.kernels
        chosen = {**default_knobs(kernel, "generic"), **knobs}
        return family, kernel, chosen, built_kernel(self.queue, kernel, case, chosen)

    def run(self, case: Choice, inputs: dict[str, Array]) -> dict[str, Array]:
        """Every buffer after the last launch."""
        held = dict(inputs)
        for family, kernel, knobs, built in self.built:
            wanted = {a.name for a in family.arguments(case) if a.role != "out"}
            given = {name: held[name] for name in wanted}
            found, guard = launch_built(self.queue, built, family, kernel, given, case, knobs)
            assert (guard == GUARD).all(), f"{kernel.name} wrote past the end of a buffer"
            held |= found
        return held
