"""The planner's choice is that of trying everything; the machine does what it predicts."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from toolkit.offload.expected import expected_reads
from toolkit.offload.flash_model import FLASHES, Flash, Floats, flash
from toolkit.offload.machine import Machine, Outcome
from toolkit.offload.planner import Costs, Demand, Planner
from toolkit.offload.policies import Ints
from toolkit.plan.schema import Point, Select, Table

COSTS = Costs(0.01, 1e-9, 5e-6, 35e-6)


def a_table(count: int, nbytes: int = 1280, stride: int = 2048) -> Table:
    return Table(f"{count}", "neuron", count, nbytes, stride, 0, 4096, ())


def a_point(tables: int = 1, **changes: Any) -> Point:
    none, select = (0,) * tables, (0.0,) * tables
    point = Point(0, none, none, none, "static", select, 8192, 65536, threads=1, cluster=32)
    return replace(point, **changes)


def falling(rng: np.random.Generator, count: int, power: float = 3) -> Floats:
    return np.sort(rng.random(count) ** power)[::-1]


def replayed(table: Table, frequency: Floats, point: Point, order: Ints) -> list[Outcome]:
    """Tokens whose records are drawn by frequency (by index), after the pinned ones are there."""
    machine = Machine([table], point, Flash("none"), [order])
    rng = np.random.default_rng(7)
    rule = Select("above", ("scratch", 0), 0.0)
    return [
        machine.gather(0, rule, (frequency - rng.random(table.count)).astype(np.float32), step)
        for step in range(300)
    ]


@pytest.mark.parametrize("stride, gap", [(1280, 0), (1280, 8192), (2048, 4096), (8192, 8192)])
@pytest.mark.parametrize("resident", [0, 150, 300])
def test_reads_are_those_of_the_machine(stride: int, gap: int, resident: int) -> None:
    rng = np.random.default_rng(stride + gap)
    table, frequency = a_table(700, stride=stride), falling(rng, 700)
    point = a_point(gap=gap, slots=(resident,), pinned=(resident,))
    found = expected_reads(table, frequency, resident, point)
    done = replayed(table, frequency, point, np.arange(700))
    assert found.misses == pytest.approx(np.mean([len(o.streamed) for o in done]), rel=0.1)
    assert found.requests == pytest.approx(np.mean([len(o.runs) for o in done]), rel=0.2)
    assert found.bytes == pytest.approx(np.mean([o.bytes_read for o in done]), rel=0.1)


def test_of_all_records_reads_are_as_long_as_may_be() -> None:
    table, point = a_table(700), a_point(slots=(124,), pinned=(124,), max_read=16384)
    found = expected_reads(table, np.ones(700), 124, point)
    outcome = Machine([table], point, Flash("none")).gather(0, Select("all"), None, 0)
    assert found.misses == len(outcome.streamed) == 700 - 124
    assert found.requests == pytest.approx(len(outcome.runs), rel=0.2)
    assert found.bytes == pytest.approx(outcome.bytes_read, rel=0.1)


def test_records_by_frequency_are_hit_more_often_than_by_index() -> None:
    rng = np.random.default_rng(2)
    frequency = rng.random(700) ** 3
    point = a_point(slots=(200,), pinned=(200,))
    orders = np.argsort(-frequency), np.arange(700)
    hits = [
        sum(len(o.hits) for o in replayed(a_table(700), frequency, point, order))
        for order in orders
    ]
    assert hits[0] > 2 * hits[1]


@pytest.mark.parametrize("name", [each.name for each in FLASHES])
@pytest.mark.parametrize("recurring", [None, [[0.0, 1.0], [0.5, 0.4], [1.0, 0.5]]])
def test_it_is_the_best_of_all_choices(name: str, recurring: list[list[float]] | None) -> None:
    """Tables so small that every number of slots is tried, in memory of whole units."""
    rng = np.random.default_rng(3)
    tables = [a_table(count, 128 * (1 + count % 2), 256) for count in (6, 7, 5)]
    again = None if recurring is None else np.array(recurring, np.float32)
    demands = [Demand(table, falling(rng, table.count, 1), again) for table in tables]
    planner = Planner(demands, a_point(3), flash(name), COSTS)
    policies = ("static", "lfu") if recurring else ("static",)

    def seconds(slots: tuple[int, ...], policy: str) -> float:
        return COSTS.rest + sum(map(alone, demands, slots, [policy] * 3))

    def alone(demand: Demand, slots: int, policy: str) -> float:
        """Of one table, in words of its own."""
        reads = expected_reads(demand.table, demand.frequency, slots, planner.point)
        if policy == "lfu" and again is not None:
            ratio = np.interp(slots / demand.table.count, again[:, 0], again[:, 1])
            reads = reads.times(float(ratio) if ratio < 0.95 else 1.0)
        size, point = COSTS.byte * demand.table.bytes, planner.point
        last = min(reads.misses, point.cluster)
        computed = (demand.frequency.sum() - last) * size
        shown = max(reads.seconds(planner.flash), computed) + last * size
        return float(shown + COSTS.wait + COSTS.launch * (1 + reads.misses / point.cluster))

    tried = {
        (slots, policy): seconds(slots, policy)
        for slots in product(*(range(t.count + 1) for t in tables))
        for policy in policies
    }
    for budget in range(0, planner.most + 1, 3 * 128):
        found = planner.within(budget)
        fitting = [
            time
            for (slots, _), time in tried.items()
            if sum(n * t.bytes for n, t in zip(slots, tables, strict=True)) <= budget
        ]
        assert found.seconds == pytest.approx(min(fitting), rel=1e-9)
        assert found.seconds == pytest.approx(tried[found.slots, found.policy])
        assert found.nbytes <= budget
        if found.policy == "static":
            assert found.pinned == found.slots
        else:
            often = [int((d.frequency > 0.5).sum()) for d in demands]
            assert found.pinned == tuple(map(min, found.slots, often))


def test_the_least_memory_for_a_time_is_the_inverse() -> None:
    rng = np.random.default_rng(4)
    demands = [Demand(a_table(count), falling(rng, count)) for count in (333, 500)]
    planner = Planner(demands, a_point(2), flash("ufs31"), COSTS)
    slowest, fastest = (planner.within(budget).seconds for budget in (0, planner.most))
    for share in (0.1, 0.5, 0.9):
        wanted = fastest + share * (slowest - fastest)
        found = planner.least(wanted)
        assert found is not None and found.seconds <= wanted
        assert planner.within(found.nbytes - 1280).seconds > wanted
    assert planner.least(fastest * 0.99) is None
    most = planner.least(fastest)
    assert most is not None and most.seconds == fastest


def test_more_memory_never_takes_longer_and_all_of_it_reads_nothing() -> None:
    rng = np.random.default_rng(5)
    demands = [Demand(a_table(count), falling(rng, count)) for count in (63, 700, 65)]
    planner = Planner(demands, a_point(3), flash("ufs40"), COSTS)
    found = [planner.within(round(planner.most * share / 10)) for share in range(11)]
    times = [each.seconds for each in found]
    assert times == sorted(times, reverse=True) and found[-1].slots == (63, 700, 65)
    assert found[0].slots == (0, 0, 0)
