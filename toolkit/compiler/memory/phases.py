"""Offsets of a phase's scratch tensors in the arena, and the lower bound of its size.

Tensors are placed once, at their largest sizes over the box of symbols; the offsets are valid for
every smaller shape.
"""

import dataclasses

from toolkit.compiler.memory.placement import place
from toolkit.plan.arena import lifetimes, lower_bound, peak
from toolkit.plan.expr import Box, maximum
from toolkit.plan.schema import Phase


def place_phase(phase: Phase, box: Box, align: int) -> Phase:
    """The phase with bytes and offset of every scratch, for sizes up to the box's largest."""
    narrowed = {**box, **phase.bounds}
    sized = [dataclasses.replace(s, bytes=max(1, maximum(s.size, narrowed))) for s in phase.scratch]
    items = lifetimes(dataclasses.replace(phase, scratch=tuple(sized)))
    offsets = place(items, align)
    placed = [dataclasses.replace(s, offset=o) for s, o in zip(sized, offsets, strict=True)]
    return dataclasses.replace(
        phase,
        scratch=tuple(placed),
        arena_bytes=peak(items, offsets, align),
        lower_bound_bytes=lower_bound(items, align),
    )
