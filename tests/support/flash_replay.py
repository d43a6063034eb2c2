"""What the machine in numpy does, given what a run was given: its scores and its budgets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flash_toy import FlashToy

from toolkit.offload.access_trace import changed, entry
from toolkit.offload.flash_model import Flash
from toolkit.offload.machine import Machine
from toolkit.offload.points import choose_point
from toolkit.offload.selection import at_point
from toolkit.plan.load import load_plan


def replayed(
    toy: FlashToy, lines: list[Any], scores: Iterator[Any], memory: int | None
) -> Iterator[dict[str, Any]]:
    """Of each line of its trace: of a change by its budget, of a gather by its scores.

    memory  that the run began with
    """
    plan = load_plan(toy.folder)
    point = choose_point(plan, memory)
    machine = Machine(plan.tables, point, Flash("none"), [toy.layers[0].order, None])
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    for line in lines:
        if "budget" in line:
            point = choose_point(plan, line["budget"], line["flash"])
            yield changed(line["t"], line["budget"], point, machine.change(point))
            continue
        number = line["g"]
        gather = gathers[number]
        rule = at_point(gather.select, point.select[number])
        given = None if rule.by == "all" else next(scores)
        outcome = machine.gather(gather.table, rule, given, line["t"], gather.tile)
        yield entry(line["t"], number, outcome)
