"""Which values of a model are too large for halves.

A half holds no number beyond 65,504. Where a value of the model comes near that, the plan stores it
in f32; then kernels that read it calculate in floats.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnx_passes.ir.states import STATE_OUT
from toolkit.plan.schema import Plan

SAFE = 16_000  # a fourth of what a half holds: other texts, and other tokens, give larger values


@dataclass(frozen=True)
class Ranges:
    """The largest size of each value of a rewritten graph, by its name."""

    largest: Mapping[str, float] = field(default_factory=dict)
    measured_on: str = ""  # which text; "": nothing was measured
    skipped: str = ""  # why nothing was, though the plan stores halves

    @property
    def wide(self) -> frozenset[str]:
        """The values that halves don't hold safely."""
        return frozenset(name for name, size in self.largest.items() if size > SAFE)

    def figures(self, plan: Plan) -> dict[str, Any]:
        """For `pocketcl compile --json`: what was measured, and which values stay float."""
        if not self.measured_on:
            return {"not_measured": self.skipped} if self.skipped else {}
        # what is only computed on the way, as a masked score, is a float anyway
        found = self.wide & set(_stored_floats(plan))
        values = [
            {"value": name, "largest": self.largest[name]}
            for name in sorted(found, key=lambda name: -self.largest[name])
        ]
        return {"measured_on": self.measured_on, "float_values": values}


def range_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """What was measured, for people."""
    values, skipped = figures.get("float_values"), figures.get("not_measured")
    if skipped:
        yield f"  values not measured, beyond 65504 a half is infinite: {skipped}"
    if values:
        first = values[0]
        most = f"{first['value']} reaches {first['largest']:.3g}, of {figures['measured_on']}"
        yield f"  {len(values)} values too large for halves stay float: {most}"


def _stored_floats(plan: Plan) -> Iterator[str]:
    for phase in plan.phases:
        yield from (scratch.name for scratch in phase.scratch if scratch.dtype == "f32")
    for buffer in plan.buffers:
        if buffer.kind == "state" and buffer.dtype == "f32":
            yield STATE_OUT + buffer.name
