"""Experts in flash: both products of those that a router chooses are one gather by its indices.

Its kernels take the matrices where they lie, in slots, and leave rows of other experts alone: so a
gather of several launches makes what one product over all would.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import onnx_ir as ir

from opencl_kernels.experts.chosen import Chosen
from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.drafts import AnyDraft, Draft, GatherDraft
from toolkit.compiler.lowering.records.endings import TICKET
from toolkit.compiler.lowering.records.rows import SLOTS
from toolkit.compiler.weights.experts import TabledExperts
from toolkit.plan.expr import maximum
from toolkit.plan.schema import Ref, Select


def tabled_experts(b: PhaseBuilder, node: ir.Node) -> TabledExperts | None:
    """The table of a product's experts, if they lie in flash."""
    found = b.tabled.get(node)
    return found if isinstance(found, TabledExperts) else None


def emit_in_slots(
    b: PhaseBuilder,
    tabled: TabledExperts,
    node: ir.Node,
    name: str,
    family: str,
    case: Chosen,
    refs: Mapping[str, Ref],
) -> None:
    """A product of experts; the second one of a network ends the gather that the first begins."""
    number = tabled.network.products.index(node)
    tabled.check(number, case.glu is not None)
    ids = refs["indices"]
    most = maximum(b.elements(ids), b.box)
    tile = min(tabled.tile, most)
    case = replace(case, slots=tabled.in_slots(number, tile))
    draft = b.draft(name, family, case, {**refs, "ticket": TICKET, "slots": SLOTS})
    b.steps.append(draft)
    if number == 0:
        b.opened[tabled] = draft
    else:
        _gather(b, tabled, Select("ids", ids, k=most), tile)


def _gather(b: PhaseBuilder, tabled: TabledExperts, select: Select, tile: int) -> None:
    """What has been computed of slots since the first product moves into one step, in its order;
    what hangs on none of it comes before."""
    opened = b.opened[tabled]
    first = b.steps.index(opened)
    inside, before = [opened], list[AnyDraft]()
    for step in b.steps[first + 1 :]:
        if isinstance(step, Draft) and any(map(step.must_follow, inside)):
            inside.append(step)
        else:
            before.append(step)
    b.steps[first:] = before
    facts = (tabled.name, tabled.table, tabled.parts, select, tuple(inside))
    b.steps.append(GatherDraft(*facts, tile))
