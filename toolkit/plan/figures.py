"""What a plan costs, in numbers and as text: launches, memory, bytes of KV cache copied."""

from collections.abc import Iterator, Sequence
from typing import Any

import sympy

from toolkit.plan.arena import Lifetime, alive_at_busiest_step, lifetimes, round_up
from toolkit.plan.expr import Expr
from toolkit.plan.schema import Buffer, Phase, Plan, Point
from toolkit.plan.table_figures import table_figures, table_lines, table_memory


def dispatches(plan: Plan) -> dict[str, int]:
    """Kernels of each phase; of gathers, too, those that choose where all lies in memory."""
    return {phase.name: len(phase.dispatches()) for phase in plan.phases}


def weight_bytes(plan: Plan) -> int:
    """Bytes of all packed weights."""
    return sum(weight.bytes for weight in plan.weights)


def memory(plan: Plan, point: Point | None = None) -> dict[str, int]:
    """Bytes that a loaded plan holds on the device, by what they are for.

    point  of a plan with tables: the one that it runs at; default: the last
    """
    point = point or (plan.points[-1] if plan.points else None)
    return resident(plan) | (table_memory(plan, point) if plan.tables and point else {})


def resident(plan: Plan) -> dict[str, int]:
    """The same without what tables take: bytes of all that is there before any record."""
    states = [buffer.bytes for buffer in plan.buffers if buffer.kind == "state"]
    others = [buffer.bytes for buffer in plan.buffers if buffer.kind != "state"]
    return {
        "weights": weight_bytes(plan),
        "states": sum(states),
        "buffers": sum(others),
        "arena": max((phase.arena_bytes for phase in plan.phases), default=0),
    }


def formulas(phase: Phase, align: int) -> tuple[str, str]:
    """Peak and lower bound of a placed phase as expressions in its symbols, alignment apart."""
    items = lifetimes(phase)
    busiest = alive_at_busiest_step(items, align)
    return _highest(phase, items, align), _sum_of_sizes(phase, busiest)


def figures(plan: Plan) -> dict[str, Any]:
    """The plan's memory in numbers, for `--json`."""
    align = int(plan.profile["align"])
    kinds = ("input", "output", "state")
    return {
        "weight_bytes": sum(w.bytes for w in plan.weights),
        **{f"{k}_bytes": sum(b.bytes for b in plan.buffers if b.kind == k) for k in kinds},
        "arena_bytes": {p.name: p.arena_bytes for p in plan.phases},
        "arena_lower_bound_bytes": {p.name: p.lower_bound_bytes for p in plan.phases},
        "arena_formula": {p.name: formulas(p, align)[0] for p in plan.phases},
        "arena_lower_bound_formula": {p.name: formulas(p, align)[1] for p in plan.phases},
        **table_figures(plan),
    }


def report(plan: Plan) -> str:
    """What `inspect --memory` prints."""
    return "\n".join(_report_lines(plan))


def _report_lines(plan: Plan) -> Iterator[str]:
    known = figures(plan)
    yield f"weights     {_bytes(known['weight_bytes'])}  {len(plan.weights)} tensors"
    yield f"states      {_bytes(known['state_bytes'])}"
    for line in _grouped_states(plan):
        yield f"  {line}"
    for kind in ("input", "output"):
        names = ", ".join(b.name for b in plan.buffers if b.kind == kind)
        yield f"{kind + 's':<12}{_bytes(known[kind + '_bytes'])}  {names}"
    arena = max(known["arena_bytes"].values(), default=0)
    yield f"arena       {_bytes(arena)}  one, shared by the phases:"
    for phase in plan.phases:
        box = ", ".join(f"{n} {low}..{high}" for n, (low, high) in plan.box(phase).items())
        top = known["arena_formula"][phase.name]
        bound = known["arena_lower_bound_formula"][phase.name]
        yield f"  {phase.name:<10}{_bytes(phase.arena_bytes)}  = {top}"
        yield f"  {'  at least':<10}{_bytes(phase.lower_bound_bytes)}  = {bound}"
        yield f"            {len(phase.scratch)} scratch tensors at {box}"
    yield from table_lines(plan)


def _grouped_states(plan: Plan) -> Iterator[str]:
    """States of one shape on one line: every layer has the same."""
    groups: dict[tuple[str, tuple[Expr, ...], str, int], list[Buffer]] = {}
    for state in plan.states:
        b = plan.buffers[state.buffer]
        groups.setdefault((b.dtype, b.shape, state.update, b.bytes), []).append(b)
    for (dtype, shape, update, nbytes), members in groups.items():
        names = members[0].name + (f" … {members[-1].name}" if len(members) > 1 else "")
        dims = " x ".join(str(d) for d in shape)
        yield f"{_bytes(nbytes * len(members))}  {len(members)} x {dtype}[{dims}] {update}  {names}"


def _bytes(count: int) -> str:
    return f"{count:>15,} bytes"


def _highest(phase: Phase, items: Sequence[Lifetime], align: int) -> str:
    """Where the scratch that ends highest begins, plus its size."""
    ends = [
        (s.offset or 0) + round_up(i.nbytes, align)
        for s, i in zip(phase.scratch, items, strict=True)
    ]
    if not ends:
        return "0"
    top = phase.scratch[ends.index(max(ends))]
    return str(sympy.Add(top.offset or 0, top.size))


def _sum_of_sizes(phase: Phase, members: Sequence[int]) -> str:
    return str(sympy.Add(*(phase.scratch[i].size for i in members)))
