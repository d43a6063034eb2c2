"""Estimates of plans with weights in flash: what gathers launch is counted and has a time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from relu_demo import relu_demo

import toolkit
from toolkit.compiler.budget.costs import costs_of
from toolkit.compiler.cost.predicted import seconds_of, with_times
from toolkit.compiler.cost.rates import Rates, rates_of
from toolkit.compiler.cost.work import made_from, of_records, program_of, work_of
from toolkit.devices.profiles import profiles
from toolkit.estimate.cost import LAUNCHES, Clock
from toolkit.estimate.estimate import estimate
from toolkit.estimate.memory import memory_at
from toolkit.estimate.page import write_pictures
from toolkit.estimate.report import lines
from toolkit.plan import figures
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Dispatch, Gather, Phase, Plan

DEVICE = "snapdragon-8-gen-3"
FACTS = profiles()[DEVICE]
CLUSTER = 64  # of the point that a compile makes


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flash")
    sizes: Any = {"max_context": 32, "prefill_chunk": 8, "weights": "e0m4", "memory": "80%"}
    toolkit.compile(relu_demo(folder / "relu"), folder / "m.plan", device=DEVICE, **sizes)
    return folder / "m.plan"


@pytest.fixture
def plan(path: Path) -> Plan:
    return load_plan(path)


def rates() -> Rates:
    return rates_of(DEVICE, FACTS, profiles())


def inside(phase: Phase) -> list[tuple[Gather, Dispatch]]:
    return [(gather, each) for gather in phase.gathers() for each in gather.dispatches]


def test_every_kernel_of_a_gather_has_the_time_of_one_launch(plan: Plan) -> None:
    for phase in plan.phases:
        seq = phase.bounds["seq"][1]
        past, rows = (plan.box(phase)[name][1] for name in ("past", "rows"))
        symbols = {"seq": seq, "past": past, "rows": rows, "text_length": past + seq}
        for gather, dispatch in inside(phase):
            most = gather.tile or CLUSTER
            made = of_records(made_from(plan.programs[program_of(dispatch, FACTS)]), most)
            seconds = seconds_of(work_of(made, symbols, 1), rates()) + rates().launch.value
            assert dispatch.microseconds == 1 + int(1e6 * seconds)
    assert with_times(plan) == plan


def test_a_launch_takes_longer_over_more_records(plan: Plan) -> None:
    phase = plan.phase("decode")
    assert phase is not None
    _, dispatch = inside(phase)[0]
    made = made_from(plan.programs[program_of(dispatch, FACTS)])
    symbols = {"seq": 1, "past": 0, "rows": 1, "text_length": 1}
    few, more, whole, too_many = (
        work_of(of_records(made, most), symbols, 1) for most in (7, 14, 384, 385)
    )
    record = plan.tables[0].bytes
    assert more.bytes - few.bytes == 7 * (record + 2 * 4)  # and its pair in the ticket
    assert more.operations == 2 * few.operations and whole == too_many == work_of(made, symbols, 1)


def test_what_plans_a_budget_counts_gathers_apart(plan: Plan) -> None:
    """`rest` is of a token beside its tables: nothing of them is in it."""
    phase = plan.phase("decode")
    assert phase is not None
    alone = replace(phase, steps=tuple(s for s in phase.steps if not isinstance(s, Gather)))
    assert len(alone.steps) < len(phase.steps)
    seconds = Clock(replace(plan, phases=(alone,)), FACTS, replace(rates(), cached=None)).decode(16)
    assert costs_of(plan).rest == pytest.approx(sum(seconds.values()))


def test_a_step_launches_gathers_part_by_part(plan: Plan) -> None:
    clock = Clock(plan, FACTS, rates())
    for name, seq in (("decode", 1), ("prefill", 8)):
        phase = plan.phase(name)
        assert phase is not None
        alone = sum(isinstance(step, Dispatch) for step in phase.steps)
        parts = -(-plan.tables[0].count // 64)
        count = alone + parts * len(inside(phase))
        launches = clock.step(seq, 0).seconds[LAUNCHES]
        assert launches == pytest.approx(count * rates().launch.value)
    assert clock.decode(0)["neurons"] > 0 and clock.prefill(8)["unpack"] > 0
    moved = clock.step(1, 0).bytes
    assert moved > sum(table.count * table.bytes for table in plan.tables)


def test_memory_is_that_of_the_point(path: Path, plan: Plan) -> None:
    """The plan's own sum, whose weights are counted in the same way."""
    (point,), held = plan.points, figures.memory(plan)
    assert sum(held.values()) + 4 * plan.slots == point.memory
    assert held["slots"] == sum(n * t.bytes for n, t in zip(point.slots, plan.tables, strict=True))
    assert held["slots"] > 0 and held["staging"] > point.max_read and held["tickets"] > 0
    found = memory_at(plan, int(plan.model["max_context"]))
    assert found.total == point.memory
    assert found.records == sum(held[name] for name in ("slots", "staging", "tickets"))
    none = replace(point, slots=(0,) * len(plan.tables))
    assert sum(figures.memory(plan, none).values()) == sum(held.values()) - held["slots"]
    assert "records" in "\n".join(lines(estimate(path)))


def test_slots_may_be_what_is_largest(plan: Plan) -> None:
    largest = memory_at(plan, 32).largest
    tables = tuple(replace(table, bytes=16 * table.bytes * largest) for table in plan.tables)
    slots = plan.points[0].slots[0]
    assert memory_at(replace(plan, tables=tables), 32).largest == slots * tables[0].bytes


def test_records_are_drawn(path: Path, tmp_path: Path) -> None:
    svg = tmp_path / "a.svg"
    write_pictures(svg, tmp_path / "a.html", estimate(path))
    assert 'class="bar five"' in svg.read_text() and ">records<" in svg.read_text()


def test_the_report_says_that_reads_are_left_out(path: Path, plan: Plan) -> None:
    found, (point,) = estimate(path), plan.points
    missing = zip(plan.tables, point.slots, strict=True)
    assert found["flash_read_bytes"] == sum((t.count - n) * t.stride for t, n in missing)
    assert any("are not predicted" in line for line in lines(found))
    decode = plan.phase("decode")
    assert decode is not None
    assert found["about"]["dispatches_per_token"] == len(decode.dispatches())
    assert len(decode.dispatches()) > sum(isinstance(step, Dispatch) for step in decode.steps)
