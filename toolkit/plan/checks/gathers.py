"""What gathers must be: records of a table, selected by what an earlier step has computed."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from toolkit.errors import PocketError
from toolkit.plan.arena import round_up
from toolkit.plan.checks.phases import OUTSIDE, dispatch_problems
from toolkit.plan.checks.values import RECORDS, index_problems
from toolkit.plan.expr import Box, interval, maximum, product
from toolkit.plan.reader import damaged
from toolkit.plan.schema import (
    DENSE,
    PAGE,
    SELECTORS,
    Buffer,
    Dispatch,
    First,
    Gather,
    Phase,
    Plan,
    Prefetch,
    Ref,
    Scratch,
    Select,
    Step,
    Table,
    Unit,
    WaitStep,
    refs_of,
)
from toolkit.plan.schema.activation import is_activation
from toolkit.plan.table_figures import first_bytes

INSIDE = (*OUTSIDE, "ticket", "slots")  # what dispatches of a gather may read
CHOOSING = (*OUTSIDE, "rule", "ticket")  # what the one that fills its ticket may
CHOSEN_THERE = ("all", "above", "nonzero")  # selectors that a device can go by
COUNTED = ("top", "ids")  # selectors that say how many
GATES = ("none", "part", "given")  # of units
PLACES = (  # of a unit: args of which kinds, and types of their numbers
    ("x", ("scratch", "buffer"), ("f32", "f16")),
    ("given", ("scratch", "buffer"), ("f32", "f16")),
    ("part", ("scratch", "buffer"), ("f32",)),
    ("gate_bias", ("weight",), ("f32",)),
    ("up_bias", ("weight",), ("f32",)),
)
MOST_IDS = 2**24  # of a gather; they may come several times


def gathers_problems(at: str, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    """Of a phase, `at` its path of keys, of a plan whose tables are sound."""
    for number, step in enumerate(phase.steps):
        if isinstance(step, Gather):
            yield from _gather_problems(f"{at}.steps[{number}]", number, phase, plan)
        if isinstance(step, Prefetch):
            yield from _prefetch_problems(f"{at}.steps[{number}]", number, phase, plan)


def _gather_problems(at: str, number: int, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    step = phase.steps[number]
    assert isinstance(step, Gather)
    yield from index_problems(f"{at}.table", step.table, len(plan.tables))
    table = plan.tables[step.table]
    names = [part.name for part in table.parts]
    if list(step.parts) != names:  # executors keep whole records
        yield damaged(f"{at}.parts", f"they are not {', '.join(names)}, in this order")
    if not 0 <= step.tile <= table.count:
        yield damaged(f"{at}.tile", f"{step.tile} is no number of its {table.count} records")
    if not step.dispatches:
        yield damaged(f"{at}.dispatches", "nothing is computed of the records")
    yield from _inside_problems(at, step, step.dispatches, phase, plan)
    yield from _select_problems(f"{at}.select", step.select, table)
    if step.select.by != "all":
        yield from _source_problems(f"{at}.select.from", step, phase.steps[:number], phase, plan)
    if step.choose is not None:
        yield from _choose_problems(f"{at}.choose", step, step.choose, phase, plan)
    if step.first is not None:
        yield from _first_problems(f"{at}.first", step, step.first, number, phase, plan)
    if step.unit is not None:
        yield from _unit_problems(f"{at}.unit", step, step.unit, phase, plan)
    always = step.select.by == "all" or (step.select.by == "ids" and step.select.k == 1)
    if step.whole and (step.choose or step.tile or table.order is not None or not always):
        yield damaged(f"{at}.whole", "the ticket is not always that of the whole table")


def _inside_problems(
    at: str, step: Gather, dispatches: Sequence[Dispatch], phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    """Of what a gather launches over its records, or over their first parts."""
    box = {**plan.box(phase), RECORDS: (0, plan.tables[step.table].count)}
    for i, dispatch in enumerate(dispatches):
        if dispatch.queue != step.queue:
            yield damaged(f"{at}.dispatches[{i}].queue", f"the gather's is {step.queue}")
        yield from dispatch_problems(f"{at}.dispatches[{i}]", dispatch, phase, plan, box, INSIDE)


def _first_problems(
    at: str, step: Gather, first: First, number: int, phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    """Of what is read before the rest: in pages of its own, and it says what else is needed."""
    table = plan.tables[step.table]
    names = [part.name for part in table.parts]
    if not 0 < len(first.parts) < len(names) or list(first.parts) != names[: len(first.parts)]:
        yield damaged(f"{at}.parts", f"they are not the first ones of {', '.join(names)}")
        return
    pages = [round_up(n, PAGE) for n in (first_bytes(step, table), table.bytes)]
    if table.stride % PAGE or pages[0] == pages[1]:
        yield damaged(f"{at}.parts", "the rest of a record has no page of its own")
    if step.tile or step.select.by not in ("all", *DENSE):
        yield damaged(at, "it leaves records of a tile, or of exactly so many")
    if first.select.by not in DENSE:
        yield damaged(f"{at}.select.by", f"{first.select.by} is no choice among some of them")
    if not first.dispatches:
        yield damaged(f"{at}.dispatches", "nothing is computed of the first parts")
    yield from _inside_problems(at, step, first.dispatches, phase, plan)
    yield from _select_problems(f"{at}.select", first.select, table)
    source = first.select.source
    if not any(source == each.args[i] for each in first.dispatches for i in each.writes):
        yield damaged(f"{at}.select.from", "none of its dispatches writes it")
    by_these, before = (
        replace(step, select=first.select),
        (*phase.steps[:number], *first.dispatches),
    )
    yield from _source_problems(f"{at}.select.from", by_these, before, phase, plan)


def _unit_problems(
    at: str, step: Gather, unit: Unit, phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    """Of what a gather's one dispatch computes."""
    if len(step.dispatches) != 1:
        yield damaged(at, "it is that of one dispatch")
    gate, dispatch, count = unit.gate, step.dispatches[0], plan.tables[step.table].count
    if gate not in GATES or len(plan.tables[step.table].parts) < 2 + (gate == "part"):
        yield damaged(f"{at}.gate", f"records have no gate {gate!r:.40}")
    for key in ("act", "up_act"):
        if not is_activation(getattr(unit, key)):
            yield damaged(f"{at}.{key}", "no function of v")
    for key, kinds, dtypes in PLACES:
        place = getattr(unit, key)
        if place is None:
            continue
        yield from index_problems(f"{at}.{key}", place, len(dispatch.args))
        ref = dispatch.args[place]
        if ref[0] not in kinds:
            yield damaged(f"{at}.{key}", f"{ref[0]} is not {' or '.join(kinds)}")
        known: Mapping[str, Sequence[Any]]
        known = {"scratch": phase.scratch, "weight": plan.weights, "buffer": plan.buffers}
        if known[ref[0]][int(ref[-1])].dtype not in dtypes:
            yield damaged(f"{at}.{key}", f"its numbers are no {' or '.join(dtypes)}")
        if (place in dispatch.writes) != (key == "part"):
            yield damaged(f"{at}.{key}", "only `part` is written")
        if ref[0] == "weight" and plan.weights[int(ref[-1])].shape != (count,):
            yield damaged(f"{at}.{key}", f"it has no number for each of {count} records")
    if (gate == "given") != (unit.given is not None):
        yield damaged(f"{at}.gate", "it is not there")


def _prefetch_problems(at: str, number: int, phase: Phase, plan: Plan) -> Iterator[PocketError]:
    step = phase.steps[number]
    assert isinstance(step, Prefetch)
    yield from index_problems(f"{at}.table", step.table, len(plan.tables))
    behind = [each for each in phase.steps[number + 1 :] if isinstance(each, Gather)][:2]
    tables = [each.table for each in behind]
    if len(behind) < 2 or tables[0] == step.table or tables[1] != step.table:
        yield damaged(f"{at}.table", "the second gather behind it is of another one")
    elif phase.steps[number + 1] != behind[0] or behind[0].queue != step.queue:
        yield damaged(at, "no gather of its queue comes right behind it")
    elif (behind[1].select.by, behind[1].select.magnitude) != ("above", step.select.magnitude):
        yield damaged(at, "the gather that it reads for selects otherwise")
    if step.select.by != "above":
        yield damaged(f"{at}.select.by", f"{step.select.by} selects too much to read it early")
    for i, dispatch in enumerate(step.dispatches):
        if dispatch.queue != step.queue:
            yield damaged(f"{at}.dispatches[{i}].queue", f"the prefetch's is {step.queue}")
        inside = f"{at}.dispatches[{i}]"
        yield from dispatch_problems(inside, dispatch, phase, plan, plan.box(phase))
    yield from _select_problems(f"{at}.select", step.select, plan.tables[step.table])
    before = (*phase.steps[:number], *step.dispatches)
    yield from _source_problems(f"{at}.select.from", step, before, phase, plan)
    written = {each.args[i] for each in step.dispatches for i in each.writes}
    others = (each for i, each in enumerate(phase.steps) if i != number)
    if any(ref[0] != "scratch" for ref in written) or written & {*chain(*map(refs_of, others))}:
        yield damaged(f"{at}.dispatches", "they write what others see, and may be left out")


def _choose_problems(
    at: str, step: Gather, choose: Dispatch, phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    """Of the dispatch that fills the ticket, and writes nothing else but the rule's count."""
    if choose.queue != step.queue:
        yield damaged(f"{at}.queue", f"the gather's is {step.queue}")
    elif choose.queue != 0:
        yield damaged(f"{at}.queue", "the ticket is queue 0's")
    if step.select.by not in CHOSEN_THERE or step.tile:
        yield damaged(at, "only all of a table is one ticket, by all, above or nonzero")
    args = choose.args
    yield from dispatch_problems(at, choose, phase, plan, plan.box(phase), CHOOSING)
    written = {args[i] for i in choose.writes}
    if not {("ticket",)} <= written <= {("ticket",), ("rule",)}:
        yield damaged(f"{at}.writes", "it writes the ticket and the rule, and these alone")
    read = {ref for ref in args if ref[0] in ("scratch", "buffer")}
    if read - {step.select.source}:
        yield damaged(f"{at}.args", "it reads other memory than what the gather selects by")


def _select_problems(at: str, select: Select, table: Table) -> Iterator[PocketError]:
    if select.by not in SELECTORS:
        known = ", ".join(SELECTORS)
        yield damaged(f"{at}.by", f"unknown selector {select.by!r:.40}; known: {known}")
    if (select.by == "all") != (select.source is None):
        yield damaged(f"{at}.from", "all records are selected by nothing, others by numbers")
    most = MOST_IDS if select.by == "ids" else table.count
    if not (select.by in COUNTED) <= select.k <= (select.by in COUNTED) * most:
        yield damaged(f"{at}.k", f"{select.k} is no number of records to select {select.by}")
    if not 0 <= select.gamma <= 1:
        yield damaged(f"{at}.gamma", f"{select.gamma} is not from 0 to 1")


def _source_problems(
    at: str, step: Gather | Prefetch, before: tuple[Step, ...], phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    """Numbers for all indices of the table, whatever the symbols are, which a dispatch has
    written; or ids, which the host or an earlier run may have written, too."""
    ref, select, table = step.select.source, step.select, plan.tables[step.table]
    if ref is not None and ref[0] == "buffer" and select.by == "ids":
        yield from _buffer_problems(at, step, before, phase, plan)
        return
    if ref is None or ref[0] != "scratch":
        yield damaged(at, f"{ref} is no scratch tensor")
        return
    yield from index_problems(f"{at}[1]", int(ref[-1]), len(phase.scratch))
    source, box = phase.scratch[int(ref[-1])], plan.box(phase)
    least = math.prod(interval(dim, box)[0] for dim in source.shape)
    if select.by == "ids":
        yield from _ids_problems(at, source, select, box)
    elif source.dtype != "f32" or least < table.count:
        because = f"it is {source.dtype} {list(source.shape)}, {table.count} of f32 are read"
        yield damaged(at, because)
    dispatches = [each for each in before if isinstance(each, Dispatch)]
    if not any(ref == each.args[i] for each in dispatches for i in each.writes):
        yield damaged(at, f"no dispatch before it writes {source.name!r}")
    if (queue := _unwaited(ref, step.queue, before)) is not None:
        yield damaged(at, f"queue {queue} writes {source.name!r}, and nothing waits for it")


def _buffer_problems(
    at: str, step: Gather | Prefetch, before: tuple[Step, ...], phase: Phase, plan: Plan
) -> Iterator[PocketError]:
    """Ids that a buffer has; the host writes by queue 0."""
    ref = step.select.source
    assert ref is not None
    yield from index_problems(f"{at}[1]", int(ref[-1]), len(plan.buffers))
    source = plan.buffers[int(ref[-1])]
    yield from _ids_problems(at, source, step.select, plan.box(phase))
    if step.queue or _unwaited(ref, step.queue, before) is not None:
        yield damaged(at, f"not only queue {step.queue} writes {source.name!r}")


def _ids_problems(
    at: str, source: Scratch | Buffer, select: Select, box: Box
) -> Iterator[PocketError]:
    """All that there are in a run count: at most k."""
    if source.dtype != "i32" or not maximum(product(source.shape), box) <= select.k:
        because = f"it is {source.dtype} {list(source.shape)}, {select.k} of i32 are read"
        yield damaged(at, because)


def _unwaited(ref: Ref, queue: int, before: tuple[Step, ...]) -> int | None:
    """Another queue that may still write what the gather's reads."""
    unwaited = set[int]()
    for step in before:
        if isinstance(step, WaitStep):
            unwaited.discard(step.queue)
        elif isinstance(step, Dispatch) and any(ref == step.args[i] for i in step.writes):
            unwaited.add(step.queue)
    return min(unwaited - {queue}, default=None)
