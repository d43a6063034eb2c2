"""What a gather needs for sure is read before the run comes to it, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flash_toy import FILE, STRIDES, F, FlashToy, second_offset
from native import DRIVERS, build
from talk import Start, Talk
from toy import CHUNK

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
FEW = IDS[:CHUNK]
PREFILL = " ".join(["prefill 0", *map(str, FEW)])


@pytest.fixture(scope="module")
def shim() -> Path:
    return build("faulty_pread.so", [DRIVERS / "faulty_pread.c"], "-shared")


@pytest.fixture
def flash(tmp_path: Path) -> FlashToy:
    """Of the first table all but one tile lies in memory."""
    toy = FlashToy(tmp_path / "flash toy")
    for point in toy.plan["points"]:
        point |= {"policy": "static", "slots": [F - 12, 9], "pinned": [F - 12, 9]}
    toy.plan["points"] = toy.plan["points"][:1]
    toy.save_json()
    return toy


def opening(talk: Talk) -> int:
    """Reads until the first run: one tells whether they pass by the page cache."""
    return int(json.loads(talk.ask("stats").removeprefix("stats "))["tables"]["reads"]) + 1


def test_the_next_gather_is_read_before_this_one_has_come(
    flash: FlashToy, start: Start, shim: Path
) -> None:
    """Its only read waits until the second table is read behind what is pinned of it."""
    until = second_offset() + 9 * STRIDES[1]
    nth = opening(start(flash.folder)) + 1
    held = {"PREAD_FAULT": "hold", "PREAD_NTH": str(nth), "PREAD_UNTIL": str(until)}
    talk = start(flash.folder, LD_PRELOAD=str(shim), **held)
    assert talk.next(PREFILL) == flash.next(FEW)


@pytest.mark.parametrize("policy, slots", [("static", 9), ("lru", F)])
def test_a_read_ahead_that_fails_says_which_and_leaves_no_slot(
    flash: FlashToy, start: Start, shim: Path, policy: str, slots: int
) -> None:
    """It fails before or while the gather in front is computed; fed again, all is right."""
    flash.plan["points"][0] |= {"policy": policy, "slots": [F - 12, slots], "pinned": [F - 12, 9]}
    flash.save_json()
    nth = opening(start(flash.folder)) + 2
    fault = {"PREAD_FAULT": "eio", "PREAD_NTH": str(nth), "PREAD_TIMES": "1"}
    talk = start(flash.folder, LD_PRELOAD=str(shim), **fault)
    told = talk.error(PREFILL)
    assert told["what"].startswith(f"{flash.folder / FILE} can't be read at byte ")
    assert int(told["what"].split()[-1]) >= second_offset()
    assert "Input/output error" in told["because"]
    assert talk.next(PREFILL) == flash.next(FEW)
    assert talk.next(f"step {len(FEW)} 7") == flash.next([*FEW, 7])


def test_what_was_decided_ahead_is_in_no_slot_when_this_gather_fails(
    flash: FlashToy, start: Start, shim: Path
) -> None:
    flash.plan["points"][0] |= {"policy": "lru", "slots": [F - 12, F], "pinned": [F - 12, 0]}
    flash.save_json()
    nth = opening(start(flash.folder)) + 1
    fault = {"PREAD_FAULT": "eio", "PREAD_NTH": str(nth), "PREAD_TIMES": "1"}
    talk = start(flash.folder, LD_PRELOAD=str(shim), **fault)
    assert int(talk.error(PREFILL)["what"].split()[-1]) < second_offset()
    assert talk.next(PREFILL) == flash.next(FEW)
