"""What a gather needs for sure is read before the run comes to it, and nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from flash_toy import FILE, STRIDES, F, FlashToy, second_offset
from native import DRIVERS, build
from patience import wait_for
from talk import Start, Talk
from toy import CHUNK

from toolkit.toolchain.opencl_loader import find_opencl

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
FEW = IDS[:CHUNK]
SECOND = second_offset(F, STRIDES)  # of the second table, in the file
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


def ahead_reads(talk: Talk) -> int:
    """Of what is pinned: it is read while the runner starts, and after."""
    return int(json.loads(talk.ask("stats").removeprefix("stats "))["tables"]["ahead_reads"])


@pytest.fixture
def faulty(flash: FlashToy, start: Start, shim: Path, tmp_path: Path) -> Callable[..., Talk]:
    """Starts a runner that meets a fault in reads of a run, counted from 1."""

    def started(fault: str, nth: int, **more: object) -> Talk:
        whole = start(flash.folder)
        whole.next(PREFILL)  # it has waited for what is pinned
        env = {"PREAD_FAULT": fault, "PREAD_NTH": str(nth), "PREAD_TIMES": "1", "PREAD_FILE": FILE}
        env |= {f"PREAD_{name.upper()}": str(value) for name, value in more.items()}
        armed = tmp_path / "armed"
        talk = start(flash.folder, LD_PRELOAD=str(shim), PREAD_ARMED=str(armed), **env)
        wait_for(lambda: ahead_reads(talk) >= ahead_reads(whole), "reads of what is pinned")
        armed.touch()
        return talk

    return started


def test_the_next_gather_is_read_before_this_one_has_come(
    flash: FlashToy, faulty: Callable[..., Talk]
) -> None:
    """Its only read waits until the second table is read behind what is pinned of it."""
    talk = faulty("hold", 1, until=SECOND + 9 * STRIDES[1])
    assert talk.next(PREFILL) == flash.next(FEW)


def unfinished_at_reads(lines: list[str]) -> list[int]:
    """At each read of flash: launches that were sent and not waited for, as a log has them."""
    sent = ended = 0
    marked, found = dict[str, int](), list[int]()
    for what, *more in map(str.split, lines):
        sent += what == "launched"
        if what == "marked":
            marked[more[0]] = sent
        if what in ("waited", "read"):
            ended = max(ended, marked.get(more[0], 0) if more else sent)
        if what == "fetched":
            found.append(sent - ended)
    return found


@pytest.mark.parametrize("overlap", ["off", "cluster"])
def test_reads_that_overlap_nothing(
    tmp_path: Path, start: Start, fake_driver: Path, shim: Path, overlap: str
) -> None:
    """Though a gather has more clusters than staging holds: then they take turns with launches."""
    toy, log = FlashToy(tmp_path / "flash toy"), tmp_path / "log"
    env = {"LD_PRELOAD": str(shim), "PREAD_FILE": FILE, "PREAD_LOG": str(log)}
    env |= {"FAKE_REAL": str(find_opencl()), "FAKE_DISCRETE": "1", "FAKE_LOG": str(log)}
    options = ("--memory", "100000", "--overlap", overlap, "--cl-lib", str(fake_driver))
    talk = start(toy.folder, *options, FAKE_LAUNCHES="1", FAKE_MARKERS="1", **env)
    token = talk.next(PREFILL)
    assert token == toy.next(FEW)
    log.write_text("")
    assert talk.next(f"step {len(FEW)} {token}") == toy.next([*FEW, token])
    found = unfinished_at_reads(log.read_text().splitlines())
    assert len(found) > 6 and any(found) == (overlap == "cluster")


@pytest.mark.parametrize("policy, slots", [("static", 9), ("lru", F)])
def test_a_read_ahead_that_fails_says_which_and_leaves_no_slot(
    flash: FlashToy, faulty: Callable[..., Talk], policy: str, slots: int
) -> None:
    """It fails before or while the gather in front is computed; fed again, all is right."""
    flash.plan["points"][0] |= {"policy": policy, "slots": [F - 12, slots], "pinned": [F - 12, 9]}
    flash.save_json()
    talk = faulty("eio", 1, at=SECOND + 9 * STRIDES[1])  # threads take turns as they like
    told = talk.error(PREFILL)
    assert told["what"].startswith(f"{flash.folder / FILE} can't be read at byte ")
    assert int(told["what"].split()[-1]) >= SECOND
    assert "Input/output error" in told["because"]
    assert talk.next(PREFILL) == flash.next(FEW)
    assert talk.next(f"step {len(FEW)} 7") == flash.next([*FEW, 7])


def test_what_was_decided_ahead_is_in_no_slot_when_this_gather_fails(
    flash: FlashToy, faulty: Callable[..., Talk]
) -> None:
    flash.plan["points"][0] |= {"policy": "lru", "slots": [F - 12, F], "pinned": [F - 12, 0]}
    flash.save_json()
    talk = faulty("eio", 1, at=(F - 12) * STRIDES[0])
    assert int(talk.error(PREFILL)["what"].split()[-1]) < SECOND
    assert talk.next(PREFILL) == flash.next(FEW)
