"""The dispatch that a test of kernels is of, and the memory that it is given."""

from collections.abc import Iterator
from dataclasses import dataclass

from toolkit.errors import PocketError
from toolkit.plan.checks.values import index_problems
from toolkit.plan.reader import damaged
from toolkit.plan.schema import (
    DTYPE_BYTES,
    Dispatch,
    Gather,
    Inside,
    KernelTest,
    Phase,
    Plan,
    Ref,
    Table,
    dispatches_of,
)
from toolkit.plan.table_figures import HEAD

RULE = 4  # ints, as in opencl_kernels/records/choose.py
MOST_SLOTS = 64  # that a test fills


def tested_of(test: KernelTest, plan: Plan) -> Dispatch:
    """The dispatch that is tested; of a sound test."""
    inside = 0 if test.inside is None else test.inside.dispatch
    return dispatches_of(plan.phases[test.phase].steps[test.step])[inside]


def most_records(step: Gather, table: Table) -> int:
    """That a ticket of the gather may have."""
    asked = step.select.k if step.select.by == "ids" else table.count
    return min(asked, table.count, step.tile or table.count)


def inside_problems(at: str, inside: Inside, step: Gather, plan: Plan) -> Iterator[PocketError]:
    """The kernels have room for so many records, and they lie in slots."""
    yield from index_problems(f"{at}.dispatch", inside.dispatch, len(dispatches_of(step)))
    most = most_records(step, plan.tables[step.table])
    if not 0 <= inside.records <= most:
        yield damaged(f"{at}.records", f"{inside.records} is not in 0 … {most}")
    if not 1 <= inside.slots <= MOST_SLOTS:
        yield damaged(f"{at}.slots", f"{inside.slots} is not in 1 … {MOST_SLOTS}")


@dataclass(frozen=True)
class Tested:
    """A dispatch that is tested, and where its memory lies; of a gather, with its table."""

    step: Dispatch
    phase: Phase
    plan: Plan
    inside: Inside | None
    table: Table | None

    def elements(self, ref: Ref, dtype: str) -> int:
        """Of an argument's memory; `dtype` of slots."""
        if ref[0] == "symbols":
            return self.plan.slots
        if ref[0] == "rule":
            return RULE
        if self.inside is not None and self.table is not None:
            if ref[0] == "ticket":
                return HEAD + 2 * self.table.count
            if ref[0] == "slots":
                return self.inside.slots * self.table.bytes // DTYPE_BYTES[dtype or "u32"]
        memory = (self.phase.scratch if ref[0] == "scratch" else self.plan.buffers)[int(ref[-1])]
        return memory.bytes // DTYPE_BYTES[memory.dtype]
