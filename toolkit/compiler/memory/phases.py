"""Where every scratch tensor lies in the arena, and how near that is to the least possible.

Offsets are placed once, at the largest sizes over the box of symbols, and are right for every
smaller shape.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import sympy

from toolkit.compiler.memory.placement import place
from toolkit.plan.arena import Lifetime, alive_at_busiest_step, lower_bound, peak, round_up
from toolkit.plan.expr import Box, Expr, maximum
from toolkit.plan.schema import Buffer, Dispatch, Phase, Plan


def lifetimes(phase: Phase) -> list[Lifetime]:
    """Of every scratch: from the first step that touches it to the last (untouched: step 0)."""
    touched: dict[int, list[int]] = {}
    for number, step in enumerate(phase.steps):
        for ref in step.args if isinstance(step, Dispatch) else ():
            if len(ref) == 2 and ref[0] == "scratch":
                touched.setdefault(ref[1], []).append(number)
    if len({step.queue for step in phase.steps}) > 1:  # queues overtake each other: all at once
        touched = {i: [0, len(phase.steps) - 1] for i in touched}
    spans = [touched.get(i, [0]) for i in range(len(phase.scratch))]
    return [
        Lifetime(s.bytes, span[0], span[-1]) for s, span in zip(phase.scratch, spans, strict=True)
    ]


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


def _grouped_states(plan: Plan) -> Iterator[str]:
    """States of one shape on one line: every layer has the same."""
    groups: dict[tuple[str, tuple[Expr, ...], str | None, int], list[Buffer]] = {}
    for b in plan.buffers:
        if b.kind == "state":
            groups.setdefault((b.dtype, b.shape, b.update, b.bytes), []).append(b)
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
