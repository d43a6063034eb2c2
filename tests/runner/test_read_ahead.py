"""Reads of prefetches that fail, that nobody needs, and that another budget makes useless."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ahead_toy import PREFETCH, AheadToy
from flash_toy import FILE, STRIDES, F, second_offset
from native import DRIVERS, RACES, build, library_sources
from talk import Start, Talk
from toy import CHUNK

from toolkit.offload.prediction.foresight import AT_ONCE
from toolkit.toolchain.build import SOURCES

FEW = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5][:CHUNK]
LITTLE = ("--memory", "100000")
PREFILL = " ".join(["prefill 0", *map(str, FEW)])
STEP = f"step {len(FEW)} 7"


@pytest.fixture(scope="module")
def shim() -> Path:
    return build("faulty_pread.so", [DRIVERS / "faulty_pread.c"], "-shared")


@pytest.fixture
def flash(tmp_path: Path) -> AheadToy:
    return AheadToy(tmp_path / "ahead toy")


def is_right(talk: Talk, flash: AheadToy, steps: int = 3) -> None:
    ids = list(FEW)
    assert talk.next(PREFILL) == flash.next(ids)
    for token in range(7, 7 + steps):
        assert talk.next(f"step {len(ids)} {token}") == flash.next([*ids, token])
        ids.append(token)


def faulty(env: dict[str, Any], shim: Path, armed: Path) -> dict[str, str]:
    facts = {"LD_PRELOAD": shim, "PREAD_FAULT": "eio", "PREAD_FILE": FILE, "PREAD_ARMED": armed}
    return {name: str(value) for name, value in (facts | env).items()}


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_read_that_fails_leaves_nothing_to_look_for(
    flash: AheadToy, start: Start, shim: Path, tmp_path: Path, nth: int
) -> None:
    """Whichever it is: the step says so or is right, and so is all that comes after it."""
    armed = tmp_path / "armed"
    talk = start(flash.folder, *LITTLE, **faulty({"PREAD_NTH": nth}, shim, armed))
    is_right(talk, flash)
    assert talk.next(PREFILL) == flash.next(FEW)
    armed.touch()
    answer = talk.ask(STEP)
    if answer.startswith("error "):
        assert "Input/output error" in json.loads(answer.removeprefix("error "))["because"]
    else:
        assert int(answer.split()[1]) == flash.next([*FEW, 7])
    armed.unlink()
    is_right(talk, flash)
    assert talk.ask("budget 200000").startswith("ok")
    is_right(talk, flash)


def test_a_budget_that_ends_what_a_gather_in_front_read_ahead(
    flash: AheadToy, start: Start
) -> None:
    """At the second point that gather has its table in memory, and is ordinary dispatches."""
    flash.plan["points"] = flash.plan["points"][:2]
    flash.plan["points"][1] |= {"slots": [F, 9], "pinned": [F, 0], "policy": "lru"}
    flash.save_json()
    talk = start(flash.folder, "--memory", "200000")
    for budget, steps in ((100_000, 1), (200_000, 4), (100_000, 2)):
        is_right(talk, flash, steps)
        assert talk.ask(f"budget {budget}").startswith("ok")
    is_right(talk, flash)


def test_what_nobody_needs_may_be_unreadable(
    flash: AheadToy, start: Start, shim: Path, tmp_path: Path
) -> None:
    """A record that is read ahead with others that are needed, and isn't itself."""
    flash.plan["phases"][1]["steps"][PREFETCH]["dispatches"][0]["args"][2] = ["weight", 2]
    for point in flash.plan["points"]:
        point["gap"] = 0
    flash.save_json()
    bad, needed = unneeded_and_needed(flash, start, tmp_path / "trace")
    at = second_offset(F, STRIDES)
    for record, works in ((bad, True), (needed, False)):
        armed = tmp_path / f"armed {record}"
        env = {"PREAD_TIMES": 1000, "PREAD_AT": at + record * STRIDES[1]}
        talk = start(flash.folder, *LITTLE, **faulty(env, shim, armed))
        assert talk.next(PREFILL) == flash.next(FEW)
        armed.touch()
        if works:
            assert talk.next(STEP) == flash.next([*FEW, 7])
        else:
            assert talk.error(STEP)["what"].startswith(f"{flash.folder / FILE} can't be read")
        armed.unlink()
        is_right(talk, flash)


def unneeded_and_needed(flash: AheadToy, start: Start, trace: Path) -> tuple[int, int]:
    """Records of the step's prefetch that are read together."""
    talk = start(flash.folder, *LITTLE, "--trace-access", str(trace))
    assert talk.ready, talk.first + talk.end()[1]
    talk.next(PREFILL)
    talk.next(STEP)
    assert talk.end()[0] == 0
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    wanted = next(line["want"] for line in lines if "p" in line)
    there = next(line["ahead"] for line in lines if "ahead" in line)
    pieces = [wanted[i : i + AT_ONCE] for i in range(0, len(wanted), AT_ONCE)]
    both = next(each for each in pieces if set(each) & set(there) and set(each) - set(there))
    return min(set(both) - set(there)), min(set(both) & set(there))


@pytest.mark.slow
def test_what_is_under_way_at_the_end_has_its_memory(tmp_path: Path) -> None:
    """ThreadSanitizer says nothing."""
    parts = [f for f in library_sources() if f.parent.name in ("base", "offload", "plan")]
    own = [DRIVERS / "read_ahead_drive.cpp", SOURCES / "gather/read_ahead.cpp"]
    (tmp_path / "flash.bin").write_bytes(bytes(16 * 4096))
    program = build("read_ahead_drive", [*parts, *own], *RACES, "-fvisibility=hidden")
    done = subprocess.run([program, tmp_path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
