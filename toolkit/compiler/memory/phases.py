"""Where every scratch tensor lies in the arena, and how near that is to the least possible.

Offsets are placed once, at the largest sizes over the box of symbols, and are right for every
smaller shape.
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
