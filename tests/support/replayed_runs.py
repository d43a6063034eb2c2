"""A run's trace against a replay of it: lines, sums, and what simulate tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from flash_toy import FlashToy

from toolkit.offload.access_trace import ahead_line, line
from toolkit.offload.counts import Counts
from toolkit.offload.machine import Ahead, Outcome
from toolkit.offload.record_cache import NONE
from toolkit.plan.load import load_plan
from toolkit.plan.schema import POLICIES
from toolkit.simulation.accesses import Access
from toolkit.simulation.known import Known
from toolkit.simulation.replay import replay
from toolkit.simulation.simulate import simulate
from toolkit.simulation.traced import Traced


def ran(
    of: Any, toy: FlashToy, trace: Path, memory: int, tokens: int, warm: Path | str = "off"
) -> Counts:
    """A run of texts that together have so many tokens."""
    rng = np.random.default_rng(tokens)
    executor = of(toy.folder, memory=memory, trace=trace, warm=warm)
    try:
        while tokens > 0:
            ids = [int(i) for i in rng.integers(0, 16, 11)]
            count = min(tokens, 40)
            first = executor.prefill(ids, 0)
            list(executor.decode(first, len(ids), count, ()))
            tokens -= count
        return Counts.of(executor.stats())
    finally:
        executor.close()


def check(toy: FlashToy, trace: Path, memory: int, counts: Counts, policy: str) -> None:
    """Lines and sums of the run are those of a replay, and those that simulate tells."""
    plan = load_plan(toy.folder)
    known, lines = Known.of(toy.folder, plan, None), dict[tuple[int, float], str]()
    accesses = Traced(trace, plan, [held.order for held in known.tables])
    case = known.case(str(memory), policy, "plan")

    def seen(access: Access, outcome: Outcome, ahead: Ahead | None) -> None:
        if ahead is not None:
            early = ahead_line(access.step, access.gather.table, ahead)
            lines[access.step, access.number - 0.5] = early
        lines[access.step, access.number] = line(access.step, access.number, outcome)

    opening, warm = 0, accesses.warm
    for number, of_table in accesses.by_table():
        held, costs = known.tables[number], known.costs
        own = warm.get(number, NONE)
        done = replay(held, of_table, case.point, policy, known.flash, costs, seen=seen, warm=own)
        opening += done.opening.read_bytes
    written = trace.read_text().splitlines()
    assert [lines[key] for key in sorted(lines)] == written[len(warm) :]
    begun = [json.loads(each) for each in written[: len(warm)]]  # with a warm set
    assert not begun or sum(each["read"] for each in begun) == opening
    figures = simulate(toy.folder, trace=trace, memory=[str(memory)])
    [told] = [each for each in figures["rows"] if each["policy"] == policy]
    assert (told["selected"], told["hits"]) == (counts.selected, counts.hits)
    assert (told["reads"], told["read_bytes"]) == (counts.reads, counts.read_bytes)  # of gathers
    assert told["opening_bytes"] == opening == counts.ahead_bytes
    aware = any(g.select.gamma < 1 for phase in plan.phases for g in phase.gathers())
    assert len(figures["rows"]) == len(POLICIES) + (not aware)
    assert all(aware or each["misses_over_belady"] >= 1 for each in figures["rows"])
