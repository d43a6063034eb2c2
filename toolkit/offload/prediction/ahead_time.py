"""What look-ahead gains: reads of a network's records that go on before it asks for them.

Flash is idle from the end of one network's reads until the next one asks. What is read then, and
needed, is not waited for; what isn't needed costs nothing but where it takes longer than that. As
many are read as flash has time for: the surest first, and what isn't begun by then is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.offload.flash_model import Flash
from toolkit.offload.prediction.foresight import AT_ONCE
from toolkit.offload.prediction.reads import Reads
from toolkit.plan.arena import round_up
from toolkit.plan.schema import PAGE, Table
from toolkit.plan.table_figures import PACKED_WASTE

# Of records that are read ahead: the least share that was needed from the fifth layer on (1.1 B
# model, random tokens: 78-98 %; 52 % in the third, 18 % in the second).
NEEDED = 0.78


@dataclass(frozen=True)
class LookAhead:
    """A prefetch of a phase.

    numbers     of all prefetches of its table, as points count them
    during      table of the network that is computed meanwhile
    table       whose records are read
    dispatches  seconds of what computes the numbers that it reads by
    between     seconds of what is computed between the two networks
    """

    numbers: tuple[int, ...]
    during: int
    table: int
    dispatches: float
    between: float

    def records(self, most: int, table: Table, flash: Flash, idle: float) -> int:
        """How many are worth asking for, of at most so many: the last group may not be begun."""
        each = float(flash.seconds(read_alone(table)))
        groups = most if each * most <= idle else int(idle / each) // AT_ONCE + 1
        return min(most, AT_ONCE * groups)

    def gain(self, records: int, reads: Reads, table: Table, flash: Flash, idle: float) -> float:
        """Seconds of a token, below 0 where it takes longer than without.

        records  that are read at most
        reads    of the table without look-ahead
        idle     seconds of flash from the reads of `during` to these
        """
        count = min(records, reads.misses)
        every = count * float(flash.seconds(read_alone(table)))
        late = max(0.0, every - idle)
        saved = reads.seconds(flash) * count / reads.misses if count else 0.0
        hidden = min(NEEDED * min(saved, every), idle)
        return hidden - self.dispatches - min((1 - NEEDED) * every, late)


def read_alone(table: Table) -> int:
    """Bytes of a read of one record."""
    whole = table.stride % PAGE == 0
    return round_up(table.bytes, PAGE) if whole else table.bytes + PACKED_WASTE


def wasted(records: int, reads: Reads, table: Table) -> Reads:
    """What a token reads ahead and doesn't need."""
    count = (1 - NEEDED) * min(records, reads.misses)
    return Reads.alike(count, read_alone(table))
