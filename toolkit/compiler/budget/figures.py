"""What is told of a plan within a budget."""

from typing import Any

import onnx_ir as ir

from onnx_passes.code_records import REQUANTIZED
from toolkit.compiler.weights.records import RecordTables
from toolkit.plan.schema import Plan, Table
from toolkit.plan.table_figures import slot_bytes


def figures_of(
    model: ir.Model, plan: Plan, parts: dict[str, int], budget: int, tables: RecordTables
) -> dict[str, Any]:
    """Keys of `pocketcl compile --json`; `parts` of what always lies in memory, in bytes."""
    point = plan.points[-1]
    named = model.graph.initializers.values()
    return {
        "budget_bytes": budget,
        "resident_bytes": sum(parts.values()),
        "resident": parts,
        "slot_bytes": slot_bytes(plan, point.slots),
        "slot_share": _slot_share(plan, tables.networks),
        "flash_bytes": sum(map(_bytes, plan.tables)),
        "row_bytes": sum(map(_bytes, plan.tables[tables.networks :])),
        "expert_bytes": sum(_bytes(plan.tables[each.table]) for each in tables.experts),
        "selector": _selector(plan, tables),
        "policy": point.policy,
        "requantized": sorted(v.name or "" for v in named if REQUANTIZED in v.metadata_props),
        "resident_ffns": [str(missed) for missed in tables.missed],
    }


def _bytes(table: Table) -> int:
    return table.count * table.stride


def _slot_share(plan: Plan, networks: int) -> float | None:
    """Of the records, those that have a slot; None where no network is in flash."""
    counts = [table.count for table in plan.tables[:networks]]
    return sum(plan.points[-1].slots[:networks]) / sum(counts) if counts else None


def _selector(plan: Plan, tables: RecordTables) -> str:
    """As the plan's gathers of networks have it: of several texts at once all is computed. `ids` of
    routers, and of a text, where nothing else is in flash."""
    if not tables.found:
        return "ids"
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    chosen = {gather.table for gather in gathers if gather.select.by not in ("all", "ids")}
    if top := [gather.select for gather in gathers if gather.select.by == "top"]:
        return "dip" if all(select.gamma == 1 for select in top) else "dip-ca"
    if any(tables.found[table].ffn.chosen is not None for table in chosen):
        return "lowrank"
    return "gate" if chosen else "all"
