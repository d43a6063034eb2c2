"""Memory -> tokens a second: what is predicted of each point of a plan with weights in flash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from toolkit.compiler.budget.clock import Clock
from toolkit.compiler.budget.short_prompt import with_own_prompts
from toolkit.compiler.cost.rates import Rates
from toolkit.devices.match import Profile
from toolkit.errors import PocketError
from toolkit.estimate.flash.budgets import Budgets
from toolkit.offload.prediction.ahead_time import wasted
from toolkit.offload.prediction.reads import Reads, added
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Gather, Plan, Point, Prefetch
from toolkit.plan.table_figures import slot_bytes
from toolkit.tables import rate, seconds, size

Figures = Mapping[str, Any]
ALL_NEEDED = (
    "how often each neuron is needed isn't known: all are taken to be, which is the most "
    "(--calibration DIR tells)"
)


def flash_points(
    budgets: Budgets,
    facts: Profile,
    rates: Rates,
    memories: Sequence[str],
    prompt: int,
    past: int,
    dense: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """`points` and what they stand on, for `--json`.

    memories  budgets as they are typed; none: the usual ones
    prompt    tokens before the first one that is predicted; `past`: before the others
    dense     figures of the plan without tables, where there would be one
    """
    times = budgets.times(facts, rates)

    def row(point: Point) -> dict[str, Any]:
        clock = Clock(budgets.plan, facts, rates, times, point)
        clock = with_own_prompts(clock) if budgets.own else clock
        reads = reads_of(budgets, point)
        needed = sum(demand.needed for demand in budgets.demands)
        return {
            "memory": point.memory,
            "flash": point.flash,
            "predicted_tokens_per_s": 1 / sum(clock.decode(past).values()),
            "flash_bytes_per_token": round(reads.bytes),
            "first_token_s": sum(clock.prefill(prompt).values()),
            "reads_per_token": reads.requests,
            "read_s": reads.seconds(budgets.flash.with_threads(point.threads)),
            "hit_rate": 1 - reads.misses / needed if needed else None,
            "slot_bytes": slot_bytes(budgets.plan, point.slots),
            "policy": point.policy,
            "cluster": point.cluster,
            "threads": point.threads,
        }

    rows = list(_asked(budgets, memories, row, dense)) if memories else []
    if not memories:
        rows = [row(point) for point in _distinct(budgets.usual)]
        rows += [_dense(budgets.dense, dense)] if dense and budgets.dense is not None else []
    about = {
        "profile": budgets.flash.name,
        "source": budgets.flash.source,
        "known": budgets.known,
    }
    return {"points": sorted(rows, key=lambda each: each["memory"] or 0), "flash": about}


def reads_of(budgets: Budgets, point: Point) -> Reads:
    """Of a token: of what it misses, and of what is read ahead in vain."""
    pairs = zip(budgets.demands, point.slots, strict=True)
    every = [demand.reads(n, point) for demand, n in pairs]
    return added([*every, *_in_vain(budgets.plan, point, every)])


def _in_vain(plan: Plan, point: Point, reads: Sequence[Reads]) -> Iterator[Reads]:
    """Nothing is read ahead beside a network in memory."""
    phase, prefetches = token_phase(plan), [p for each in plan.phases for p in each.prefetches()]
    whole = [n == table.count for n, table in zip(point.slots, plan.tables, strict=True)]
    for step, behind in pairwise(() if phase is None else phase.steps):
        if isinstance(step, Prefetch) and isinstance(behind, Gather) and point.ahead:
            number = next(i for i, each in enumerate(prefetches) if each is step)
            if not whole[step.table] and not whole[behind.table]:
                of_table = reads[step.table]
                yield wasted(point.ahead[number], of_table, plan.tables[step.table])


def _asked(
    budgets: Budgets, memories: Sequence[str], row: Any, dense: Mapping[str, float] | None
) -> Iterator[dict[str, Any]]:
    """A row for each; of several, one that is too little is told in its own."""
    for memory in memories:
        try:
            point = budgets.at(memory)
        except PocketError as error:
            if len(memories) == 1:
                raise
            told = {"what": error.what, "because": error.because, "hint": error.hint}
            yield {"asked": memory, "memory": None, "error": told}
            continue
        fits = dense and budgets.dense is not None and budgets.enough(memory)
        found = _dense(budgets.dense, dense) if fits else row(point)
        yield {"asked": memory, **found}


def _distinct(points: Sequence[Point]) -> list[Point]:
    return list({point.memory: point for point in points}.values())


def _dense(memory: int | None, figures: Mapping[str, float] | None) -> dict[str, Any]:
    """All of it in memory, without a table."""
    return {
        "memory": memory,
        "flash": 1.0,
        **dict(figures or {}),
        "flash_bytes_per_token": 0,
        "reads_per_token": 0.0,
        "read_s": 0.0,
        "hit_rate": None,
        "slot_bytes": 0,
        "policy": None,
        "cluster": None,
        "threads": None,
    }


def point_table(figures: Figures) -> Iterator[list[str]]:
    """For people."""
    yield ["memory", "records", "tokens/s", "read a token", "reads", "hits", "first token", ""]
    for row in figures["points"]:
        if "error" not in row:
            yield _cells(row)


def _cells(row: Mapping[str, Any]) -> list[str]:
    predicted, first = rate(row["predicted_tokens_per_s"]), seconds(row["first_token_s"])
    if row["policy"] is None:
        return [size(row["memory"]), "all", predicted, "", "", "", first, "without tables"]
    hits = "" if row["hit_rate"] is None else f"{row['hit_rate']:.0%}"
    read, reads = size(row["flash_bytes_per_token"]), f"{row['reads_per_token']:,.0f}"
    how = f"{row['policy']}, {row['cluster']} at once"
    how += f", {row['threads']} threads" if row["threads"] > 1 else ""
    held = size(row["slot_bytes"])
    return [size(row["memory"]), held, predicted, read, reads, hits, first, how]


def point_notes(figures: Figures) -> Iterator[str]:
    """What is to be known of the table."""
    flash = figures["flash"]
    yield f"flash {flash['profile']}: {flash['source']}"
    if not flash["known"]:
        yield ALL_NEEDED
    for row in figures["points"]:
        if "error" in row:
            yield f"{row['asked']}: {row['error']['what']}; {row['error']['because']}"
