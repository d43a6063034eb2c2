"""Estimates of plans with weights in flash: what gathers launch is counted and has a time."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exports import DEMO
from relu_demo import relu_demo

import toolkit
from toolkit.compiler.budget.clock import GATHERS, LAUNCHES, Clock
from toolkit.compiler.budget.costs import cost_of, costs_of, facts_of
from toolkit.compiler.budget.planned import unchosen
from toolkit.compiler.budget.staging import Prompt
from toolkit.compiler.cost.predicted import seconds_of, with_times
from toolkit.compiler.cost.rates import Rates, rates_of
from toolkit.compiler.cost.work import made_from, of_records, program_of, work_of
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError
from toolkit.estimate.estimate import estimate
from toolkit.estimate.flash.budgets import of_plan
from toolkit.estimate.memory import memory_at
from toolkit.estimate.page import write_pictures
from toolkit.estimate.report import lines
from toolkit.offload.flash_model import flash
from toolkit.offload.machine import Machine
from toolkit.offload.points import whole_bytes
from toolkit.plan import figures
from toolkit.plan.load import load_plan
from toolkit.plan.origin import noted
from toolkit.plan.schema import Dispatch, Gather, Phase, Plan, Point, Select
from toolkit.predictors.folder import Folder

DEVICE = "snapdragon-8-gen-3"
FACTS = profiles()[DEVICE]
CLUSTER = 64  # of the point that a compile makes


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flash")
    sizes: Any = {"max_context": 32, "prefill_chunk": 8, "weights": "e0m4", "memory": "90%"}
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
    cost = cost_of(plan, facts_of(plan))
    assert costs_of(cost, 10**12).rest == pytest.approx(sum(seconds.values()))


def test_a_step_has_the_time_of_its_gathers(path: Path, plan: Plan) -> None:
    """By the model that the planner has; what is beside them is launched as ever."""
    budgets = of_plan(path, plan, FACTS, "ufs40", None)
    assert not budgets.known  # which neurons are needed is not known: all are taken to be
    times, (point,) = budgets.times(FACTS, rates()), plan.points
    clock = Clock(plan, FACTS, rates(), times, point)
    for name, seq in (("decode", 1), ("prefill", 8)):
        phase = plan.phase(name)
        assert phase is not None
        alone = sum(isinstance(step, Dispatch) for step in phase.steps)
        step = clock.step(seq, 0)
        assert step.seconds[LAUNCHES] == pytest.approx(alone * rates().launch.value)
        symbols = {"seq": seq, "past": 0, "rows": 1, "text_length": seq}
        beside = sum(step.seconds.values()) - step.seconds[GATHERS]
        taken = times.seconds(phase, symbols, point, beside)
        assert step.seconds[GATHERS] == pytest.approx(taken)
        assert step.bytes > sum(table.count * table.bytes for table in plan.tables)


def test_a_gather_takes_the_reads_and_what_came_last(path: Path, plan: Plan) -> None:
    """One of decode, where all are needed, counted by hand."""
    phase = plan.phase("decode")
    assert phase is not None
    gather, dispatch = inside(phase)[0]
    table, slots = plan.tables[gather.table], plan.points[0].slots[gather.table]
    read, missed = flash("ufs31"), table.count - slots
    per = of_records(made_from(plan.programs[program_of(dispatch, FACTS)]), table.count)
    symbols = {"seq": 1, "past": 0, "rows": 1, "text_length": 1}
    each = seconds_of(work_of(per, symbols, 1), rates()) / table.count
    static = replace(plan.points[0], policy="static", pinned=plan.points[0].slots)
    runs = Machine(plan.tables, static, read).gather(gather.table, Select("all"), None, 0).runs
    parts, reading = -(-missed // CLUSTER), len(runs) * read.alpha + runs[:, 1].sum() / read.beta
    copied = 2 * missed * table.bytes / rates().read.value
    alone = replace(phase, steps=(gather,))
    found = of_plan(path, plan, FACTS, "ufs31", None).times(FACTS, rates())
    last, r = min(missed, CLUSTER), rates()
    shown = max(reading + copied, (table.count - last) * each + parts * r.launch.value)
    waits = r.wait.value + r.select.value * table.count
    whole = waits + shown + r.launch.value + r.handoff.value + last * each
    assert found.seconds(alone, symbols, plan.points[0]) == pytest.approx(whole, rel=0.01)


def test_places_are_as_many_as_hide_a_prompts_reads(plan: Plan) -> None:
    """In what there is of memory, of which slots keep nearly all."""
    found = Prompt.of(plan, facts_of(plan), flash("ufs21"), unchosen(plan))
    assert found is not None
    counts = tuple(table.count for table in plan.tables)
    few, usual = replace(plan.points[0], slots=tuple(5 * n // 8 for n in counts)), plan.points[0]
    reading = sum(t.reading for t in found.times.tiles(found.phase, found.symbols, few, 0.0))
    slow = replace(found, beside=3 * reading)  # time for all, between networks
    assert slow.tiles(few) == 3 and slow.tiles(replace(usual, slots=counts)) == 2
    assert slow.tiles(replace(few, slots=(0,) * len(counts))) == 2  # there is no room for more
    assert replace(found, beside=0.0).tiles(few) == 3  # there is room, and times are never alike
    budgets = list[int]()

    def point(budget: int) -> Point:
        budgets.append(budget)
        return replace(few, memory=budget)

    staged = slow.staged(10**9, point)
    more = figures.memory(plan, staged)["staging"] - figures.memory(plan, few)["staging"]
    assert staged.memory == 10**9 and budgets == [10**9, 10**9 - more] and more > 0
    assert staged.tiles == slow.tiles(few)


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


def test_points_are_told_with_what_is_not_known(path: Path, plan: Plan) -> None:
    found = estimate(path, flash="ufs40")
    assert found["flash"] == {"profile": "ufs40", "source": flash("ufs40").source, "known": False}
    rows = found["points"]
    assert [row["memory"] for row in rows] == [plan.points[0].memory, whole_bytes(plan)]
    assert rows[0]["flash_bytes_per_token"] > rows[1]["flash_bytes_per_token"] == 0
    assert rows[0]["predicted_tokens_per_s"] < rows[1]["predicted_tokens_per_s"]
    assert rows[0]["first_token_s"] > rows[1]["first_token_s"]
    assert found["decode_tokens_per_s"] == pytest.approx(rows[0]["predicted_tokens_per_s"])
    said = "\n".join(lines(found))
    assert "isn't known" in said and "first token" in said
    decode = plan.phase("decode")
    assert decode is not None
    assert found["about"]["dispatches_per_token"] == len(decode.dispatches())


def test_points_for_a_slower_flash_are_not_told(path: Path, plan: Plan) -> None:
    """Runs take them while reads are late: of such memory there are others."""
    last = plan.points[-1]
    slower = replace(last, memory=last.memory - 192, flash=0.5)
    found = of_plan(path, replace(plan, points=(slower, last)), FACTS, "ufs40", None).usual
    assert [point.memory for point in found] == [last.memory, whole_bytes(plan)]
    assert {point.flash for point in found} == {1.0}


def test_budgets_may_be_named(path: Path, plan: Plan) -> None:
    names = ["90%", "1K", f"{plan.points[0].memory}"]
    found = estimate(path, flash="ufs31", memory=names)["points"]
    assert [row["asked"] for row in found] == ["1K", names[2], "90%"]
    assert "does not run in 1000 bytes" in found[0]["error"]["what"]
    assert found[1]["memory"] == plan.points[0].memory < found[2]["memory"]
    assert any("does not run" in line for line in lines(estimate(path, memory=names)))
    with pytest.raises(PocketError, match="does not run in 1000 bytes"):
        estimate(path, memory="1K")
    with pytest.raises(PocketError, match="no flash is called floppy"):
        estimate(path, flash="floppy")
    with pytest.raises(PocketError, match="--max-loss goes with a model"):
        estimate(path, max_loss="7%")


def test_all_rows_have_the_same_keys(path: Path, tmp_path: Path) -> None:
    """With what is all in memory among them, which only a model has."""
    sizes: dict[str, Any] = {"max_context": 32, "prefill_chunk": 8, "weights": "e0m4"}
    rows = estimate(relu_demo(tmp_path / "relu"), DEVICE, flash="ufs31", **sizes)["points"]
    assert sum(row["policy"] is None for row in rows) == 1
    assert {frozenset(row) for row in rows} == {frozenset(estimate(path)["points"][0])}


def test_what_cannot_be_in_flash_has_no_sizes() -> None:
    """Of no budget: weights of the source are floats of 32 bits, which have no records."""
    with pytest.raises(PocketError, match="none of this plan can be in flash") as caught:
        estimate(DEMO, DEVICE, flash="ufs31")
    assert "--flash" in caught.value.hint and " B" not in str(caught.value)


def test_another_models_calibration_is_refused(path: Path, plan: Plan, tmp_path: Path) -> None:
    """A plan says which model it is of."""
    folder, made = Folder(tmp_path), {"model_sha256": "0" * 64}
    folder.write({"made_of": made, "layers": [], "points": [], "finished": True})
    with pytest.raises(PocketError, match="made for another model") as caught:
        estimate(path, calibration=tmp_path)
    assert f"of the plan's: {noted(plan, 'sha256')[:12]}" in str(caught.value.because)
    assert "name the calibration" in caught.value.hint


def test_memory_and_rates_are_drawn(path: Path, tmp_path: Path) -> None:
    found = estimate(path, flash="ufs31", memory=["80%", "90%", "100%", "1K"])
    write_pictures(tmp_path / "a.svg", None, found)
    drawn = (tmp_path / "a.svg").read_text()
    assert "Predicted decode rate by memory, flash ufs31" in drawn
    for row in found["points"][1:]:
        assert f"{row['predicted_tokens_per_s']:,.1f} tokens/s" in drawn
