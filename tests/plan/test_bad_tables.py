"""Tables, points and gathers: what one loader refuses the other refuses, for the same key."""

from __future__ import annotations

import contextlib
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import pytest
from ahead_toy import AheadToy
from bad_tables import BAD_PREFETCHES, BAD_TABLES, GOOD_TABLES, IDS
from both_loaders import both_refuse, both_take, runner_says, words_of
from flash_toy import ORDER, SIZES, F, FlashToy
from plan_edits import PlanEdit, bad
from toy import CHUNK
from two_phase_toy import BAD_FIRST, GOOD_FIRST, TwoPhaseToy

from opencl_kernels.layouts import F16, F32, quantized
from opencl_kernels.records.record import Record
from toolkit.errors import PocketError
from toolkit.plan.checks.tables import GROUPS, part_bytes
from toolkit.plan.load import load_plan
from toolkit.plan.schema import POLICIES, SELECTORS, Part


@pytest.fixture
def flash(tmp_path: Path) -> FlashToy:
    return FlashToy(tmp_path / "toy plan")


@pytest.mark.parametrize("edit", BAD_TABLES, ids=str)
def test_both_loaders_refuse_it(program: Path, flash: FlashToy, edit: PlanEdit) -> None:
    both_refuse(program, flash, edit)


@pytest.mark.parametrize("edit", BAD_PREFETCHES, ids=str)
def test_both_loaders_refuse_a_prefetch(program: Path, tmp_path: Path, edit: PlanEdit) -> None:
    both_refuse(program, AheadToy(tmp_path / "toy plan"), edit)


@pytest.mark.parametrize("edit", BAD_FIRST, ids=str)
def test_both_loaders_refuse_two_phases(program: Path, tmp_path: Path, edit: PlanEdit) -> None:
    both_refuse(program, TwoPhaseToy(tmp_path / "toy plan"), edit)


@pytest.mark.parametrize("edit", GOOD_FIRST, ids=str)
def test_both_loaders_take_two_phases(program: Path, tmp_path: Path, edit: PlanEdit) -> None:
    both_take(program, TwoPhaseToy(tmp_path / "toy plan"), edit)


def test_another_queue_is_waited_for_in_two_phases(program: Path, tmp_path: Path) -> None:
    """Also where it has written what first parts are chosen by before the gather."""
    toy = TwoPhaseToy(tmp_path / "toy plan")
    steps = toy.plan["phases"][1]["steps"]
    other = deepcopy(steps[3])
    other["args"][3] = steps[4]["first"]["select"]["from"]
    steps.insert(3, other)
    both_take(program, toy, PlanEdit("phases.1.steps.3.queue", 0, "its own queue"))
    at = "phases[1].steps[5].first.select.from"
    both_refuse(program, toy, bad("phases.1.steps.3.queue", 1, "nothing waits for it", at))


@pytest.mark.parametrize("key", ["gate_bias", "up_bias"])
def test_a_bias_is_a_number_for_each_record(program: Path, flash: FlashToy, key: str) -> None:
    gather = flash.plan["phases"][1]["steps"][4]
    args = gather["dispatches"][0]["args"]
    gather["unit"][key] = len(args)
    args.append(["weight", SIZES])
    place = f"phases.1.steps.4.dispatches.0.args.{len(args) - 1}"
    both_take(program, flash, PlanEdit(place, ["weight", SIZES], "one for each"))
    at = f"phases[1].steps[4].unit.{key}"
    both_refuse(program, flash, bad(place, ["weight", ORDER], "i32", at))
    both_refuse(program, flash, bad(place, ["weight", 2], "a matrix", at))
    both_refuse(program, flash, bad(f"weights.{SIZES}.shape", [F - 1], "one too few", at))


def test_a_unit_is_that_of_one_dispatch(program: Path, flash: FlashToy) -> None:
    dispatches = flash.plan["phases"][1]["steps"][4]["dispatches"]
    two = [*dispatches, *dispatches]
    at = "phases[1].steps[4].unit"
    both_refuse(program, flash, bad("phases.1.steps.4.dispatches", two, "there are two", at))


@pytest.mark.parametrize("edit", GOOD_TABLES, ids=str)
def test_both_loaders_take_it(program: Path, flash: FlashToy, edit: PlanEdit) -> None:
    both_take(program, flash, edit)


def test_numbers_are_there_whatever_the_symbols_are(program: Path, flash: FlashToy) -> None:
    """Of one token too few, though of several enough."""
    phase, by_scores = flash.plan["phases"][0], {"by": "above", "from": ["scratch", 2]}
    phase["steps"][4]["select"] = by_scores
    both_take(program, flash, PlanEdit("phases.0.scratch.2.shape", [["seq"], F], "enough"))
    few = bad("phases.0.scratch.2.shape", [["seq"], F - 1], "few", "phases[0].steps[4].select.from")
    both_refuse(program, flash, few)


def test_both_loaders_know_the_same_words(program: Path, flash: FlashToy) -> None:
    assert words_of(program, flash, "points.0.policy") == sorted(POLICIES)
    assert words_of(program, flash, "phases.0.steps.4.select.by") == sorted(SELECTORS)


@pytest.mark.parametrize("queue", range(3))
def test_another_queue_is_waited_for(program: Path, flash: FlashToy, queue: int) -> None:
    """What a gather selects by is read through its own queue."""
    answer = "ok 3 phases" if queue == 1 else "select.from"
    steps = flash.plan["phases"][1]["steps"]
    steps[3]["queue"] = 1
    steps.insert(4, {"kind": "wait", "queue": queue})
    flash.save_json()
    assert answer in runner_says(program, flash.folder)[1]
    with contextlib.nullcontext() if queue == 1 else pytest.raises(PocketError, match=answer):
        load_plan(flash.folder)


@pytest.mark.parametrize("by, k, most", [("ids", F, F), ("top", 3, F)])
def test_no_point_selects_more_than_there_is(
    program: Path, flash: FlashToy, by: str, k: int, most: int
) -> None:
    """Of ids there are as many as the gather says, of scores one for each record."""
    decode = flash.plan["phases"][1]
    decode["steps"][4]["select"] = {"by": by, "from": ["scratch", 2], "k": k}
    del decode["steps"][4]["choose"]  # it knows thresholds only
    del decode["steps"][4]["unit"], decode["steps"][7]["unit"]  # whose numbers are f32
    decode["scratch"][2]["dtype"] = "i32" if by == "ids" else "f32"
    for point in flash.plan["points"]:
        point["select"][2] = float(most)
    flash.save_json()
    assert runner_says(program, flash.folder) == (0, "ok 3 phases")
    load_plan(flash.folder)
    both_refuse(program, flash, bad("points.1.select.2", most + 1.0, "more than there are"))
    both_refuse(program, flash, bad("points.1.dense.0", 1, "one more than so many"))
    if by == "ids":  # all of them count, or experts would be missing
        both_refuse(program, flash, bad("points.1.select.2", most - 1.0, "fewer than there are"))
        select = "phases.1.steps.4.select"
        both_refuse(program, flash, bad(f"{select}.k", F - 1, "", "phases[1].steps[4].select.from"))


def test_all_ids_of_a_buffer_are_looked_up(program: Path, flash: FlashToy) -> None:
    """Or rows would be missing; there may be more of them than records."""
    flash.plan["phases"][0]["steps"][4]["select"] = IDS | {"k": F + CHUNK}
    for point in flash.plan["points"]:
        point["select"][0] = float(F + CHUNK)
    flash.save_json()
    assert runner_says(program, flash.folder) == (0, "ok 3 phases")
    load_plan(flash.folder)
    both_refuse(program, flash, bad("points.1.select.0", F + CHUNK - 1.0, "fewer than there are"))


def test_threads_read_no_more_than_memory_has(program: Path, flash: FlashToy) -> None:
    flash.plan["points"][1] |= {"max_read": 2**26, "threads": 4}
    flash.save_json()
    assert runner_says(program, flash.folder) == (0, "ok 3 phases")
    load_plan(flash.folder)
    both_refuse(program, flash, bad("points.1.threads", 5, "more than 256 MiB at once"))


CODES = [(dtype, group, zero) for dtype in ("e0m4", "q8") for group in GROUPS for zero in (0, 1)]


@pytest.mark.parametrize("dtype, group, zero", [*CODES, ("f16", 0, 0), ("f32", 0, 0)])
@pytest.mark.parametrize("length", [1, 2049])
def test_both_loaders_give_a_part_the_same_size(
    program: Path, flash: FlashToy, length: int, dtype: str, group: int, zero: int
) -> None:
    """Of a table of one record: the right size is taken, and 16 bytes more are refused."""
    part = Part("down", 0, 0, dtype, length, group, bool(zero))
    stored = (
        F32
        if dtype == "f32"
        else F16
        if dtype == "f16"
        else quantized(
            dtype, group, *(("f16", "u8" * zero) if dtype == "e0m4" else ("f32", "f32" * zero))
        )
    )
    assert part_bytes(part) == Record(1, length, stored).part_bytes
    needed = part_bytes(part)
    assert needed
    size = -(-(needed + 16) // 64) * 64
    flash.plan["tables"][1] |= {"bytes": size, "stride": size, "count": 1}
    for each in flash.plan["points"]:
        each |= {"slots": [0, 1], "pinned": [0, 1]}
    for phase in flash.plan["phases"]:
        phase["steps"][7] |= {"parts": ["down"], "tile": 0}
        phase["steps"][7].pop("unit", None)
    for nbytes, answer in ((needed, "ok 3 phases"), (needed + 16, "tables[1].parts[0]")):
        flash.plan["tables"][1]["parts"] = [asdict(part) | {"bytes": nbytes}]
        flash.save_json()
        assert answer in runner_says(program, flash.folder)[1]
