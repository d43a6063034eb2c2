"""What a plan takes of memory by its parts, tables aside: all of this is there before any slot."""

from collections.abc import Mapping

from toolkit.plan.schema import Plan
from toolkit.plan.table_figures import table_memory
from toolkit.tables import size


def needs(plan: Plan, weights: int, head: int) -> dict[str, int]:
    """Bytes by what they are for.

    weights  of all that lie in memory; `head`: of embedding and head, which are among them
    """
    states = sum(b.bytes for b in plan.buffers if b.kind == "state")
    others = sum(b.bytes for b in plan.buffers if b.kind != "state")
    found = {
        "attention and norms": weights - head,
        "embedding and head": head,
        "keys and values": states,
        "inputs and outputs": others + 4 * plan.slots,
        "scratch": max((phase.arena_bytes for phase in plan.phases), default=0),
    }
    if not plan.tables:
        return found
    return found | {k: n for k, n in table_memory(plan, plan.points[0]).items() if k != "slots"}


def spelled(parts: Mapping[str, int]) -> str:
    """The sum by its parts, the largest first."""
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    return ", ".join(f"{name} {size(count)}" for name, count in ordered if count)
