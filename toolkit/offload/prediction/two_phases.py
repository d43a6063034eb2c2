"""Whether records are read faster in two phases: gates, then the rest of those that aren't zero.

PowerInfer-2 section 4.2 reads 8 KB so, by a flash that reads twice 4 KB faster than them at once.
"""

from __future__ import annotations

from toolkit.offload.flash_model import Flash
from toolkit.plan.arena import round_up
from toolkit.plan.schema import PAGE


def in_two(flash: Flash, first: int, nbytes: int, nonzero: float) -> bool:
    """Of records that begin at pages.

    first    bytes of their first part
    nbytes   of a record
    nonzero  the share of them whose rest is read
    """
    pages, whole = round_up(first, PAGE), round_up(nbytes, PAGE)
    if pages == whole:
        return False
    once, before, rest = (float(flash.seconds(n)) for n in (whole, pages, whole - pages))
    return before + nonzero * rest < once
