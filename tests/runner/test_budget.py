"""A budget that changes while the runner runs: memory follows, whatever the device is."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from flash_replay import replayed
from flash_talk import IDS, PREFILL, is_right
from flash_toy import FILE, PAGE, RECORD, F, FlashToy
from large_toy import MANY, REST, large
from native import DRIVERS, build
from soak import rss
from talk import Start, failure
from toy_plan import Toy

from toolkit.toolchain.opencl_loader import find_opencl

LITTLE = ("--memory", "100000")
FLAT = 4 << 20  # bytes of the allocators' ups and downs


def test_memory_follows_within_two_tokens(
    tmp_path: Path, start: Start, request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--sanitized"):
        pytest.skip("AddressSanitizer keeps memory that was given back, to see uses of it")
    toy, slots = large(tmp_path / "large"), 2 * MANY * RECORD.nbytes
    talk = start(toy.folder)
    process, held, shares = str(talk.child.pid), list[int](), (1, 0.5, 0, 1)
    token = talk.next(PREFILL)
    for number, share in enumerate(shares):
        budget = REST + int(share * slots)
        assert talk.ask(f"budget {budget}").split()[0] == "ok"
        for step in range(2):
            token = talk.next(f"step {len(IDS) + 2 * number + step} {token}")
        held.append(rss(process))
    whole = held[0]
    for now, share in zip(held, shares, strict=True):
        assert now == pytest.approx(whole - (1 - share) * slots, abs=FLAT), held


@pytest.mark.parametrize(
    "fake", [{"FAKE_DISCRETE": "1"}, {"FAKE_MISSING": ",clEnqueueMarkerWithWaitList,"}]
)
def test_devices(tmp_path: Path, start: Start, fake_driver: Path, fake: dict[str, str]) -> None:
    toy, real = FlashToy(tmp_path / "flash toy"), {"FAKE_REAL": str(find_opencl())}
    talk = start(toy.folder, "--cl-lib", str(fake_driver), **real, **fake)
    for budget in (100_000, 300_000, 98_000, 200_000):
        assert talk.ask(f"budget {budget}").split()[0] == "ok"
        is_right(talk, toy, 4)


@pytest.mark.parametrize("readable", [True, False])
def test_what_is_half_bound_ends_the_runner(
    tmp_path: Path, start: Start, fake_driver: Path, readable: bool
) -> None:
    """Where kernels aren't given the new slots; if before that records of a table couldn't be read,
    this is told.
    """
    toy, armed = FlashToy(tmp_path / "flash toy"), tmp_path / "armed"
    env = {"FAKE_REAL": str(find_opencl()), "FAKE_ARGUMENT": str(armed)}
    if not readable:
        faulty = build("libfaulty_pread.so", [DRIVERS / "faulty_pread.c"], "-shared")
        env |= {"LD_PRELOAD": str(faulty), "PREAD_FAULT": "eio", "PREAD_FILE": FILE}
        nth = str(-(-F * RECORD.nbytes // (4 * PAGE)) + 6)  # of the second table
        env |= {"PREAD_NTH": nth, "PREAD_TIMES": "1000000", "PREAD_ARMED": str(armed)}
    talk = start(toy.folder, *LITTLE, "--cl-lib", str(fake_driver), **env)
    is_right(talk, toy)
    armed.touch()
    told = failure(talk.ask("budget 300000"))
    assert not armed.exists() and talk.child.wait(30) == 1
    assert ("argument" in told["what"]) == readable and (FILE in str(told)) != readable


AS_NOBODY = """#!/bin/sh
ulimit -l 64
exec setpriv --reuid=65534 --regid=65534 --clear-groups {runner} "$@"
"""


SYSTEMS_DRIVERS = Path("/etc/OpenCL/vendors")  # others may lie where nobody may not look


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root becomes nobody"
)
@pytest.mark.skipif(not [*SYSTEMS_DRIVERS.glob("*.icd")], reason="the system has no driver")
def test_no_right_is_needed(start: Start, program: Path) -> None:
    """Of the user nobody, who may lock 64 KiB of memory."""
    with tempfile.TemporaryDirectory() as name:  # pytest's own are for root only
        folder, home = Path(name), Path(name) / "home"
        toy, runner = FlashToy(folder / "flash toy"), shutil.copy(program, folder)
        home.mkdir()
        for path in (folder, home):
            path.chmod(0o777)
        (folder / "as nobody").write_text(AS_NOBODY.format(runner=runner))
        (folder / "as nobody").chmod(0o755)
        words = ("--memory", "100000", "--flash", "ufs40", "--cache", str(home))
        env = dict.fromkeys(("POCL_CACHE_DIR", "HOME", "XDG_CACHE_HOME"), str(home))
        env["OCL_ICD_VENDORS"] = str(SYSTEMS_DRIVERS)
        talk = start(toy.folder, *words, program=folder / "as nobody", **env)
        assert Path(f"/proc/{talk.child.pid}").stat().st_uid == 65534, talk.first
        limits = Path(f"/proc/{talk.child.pid}/limits").read_text()
        assert talk.ready, talk.first
        assert re.search(r"Max locked memory +65536 +65536", limits)
        for budget in (300_000, 98_000):
            assert talk.ask(f"budget {budget}").startswith("ok")
            is_right(talk, toy)


SLOW = {"name": "a slow one", "alpha_s": 5e-4, "bytes_per_s": 1e9}


def slower_points(toy: FlashToy) -> None:
    """Points of their own for a flash of a quarter of its speed."""
    toy.plan["flash"] = SLOW
    slower = [dict(point, flash=0.25, policy="static") for point in toy.plan["points"]]
    for point in slower:
        point["pinned"] = point["slots"] = [max(1, count - 5) for count in point["slots"]]
    toy.plan["points"] = [p for pair in zip(slower, toy.plan["points"], strict=True) for p in pair]
    toy.save_json()


def test_another_flash_means_another_point(tmp_path: Path, start: Start) -> None:
    """Within 32 tokens; and back again. The trace says when, and is the machine's."""
    toy, trace = FlashToy(tmp_path / "flash toy"), tmp_path / "trace"
    slower_points(toy)
    options = ("--memory", "100000", "--flash", "ufs40", "--trace-access", str(trace))
    talk = start(toy.folder, *options)
    assert talk.ask("flash 5e-4 1e9") == "ok"
    first = talk.next(PREFILL)
    for profile, speed in (("5e-4 1e9", 1), ("2e-3 0.25e9", 0.25), ("5e-4 1e9", 1)):
        assert talk.ask(f"flash {profile}") == "ok"
        for _ in range(32 if speed < 1 else 40):
            assert talk.next(f"step {len(IDS)} {first}") == toy.next([*IDS, first])
        used = json.loads(talk.ask("stats").removeprefix("stats "))["tables"]["points_used"]
        assert {each["flash"] for each in used} == ({1} if used[-1]["flash"] == 1 else {1, 0.25})
    assert sum(each["tokens"] for each in used) == len(IDS) + 40 + 32 + 40
    assert talk.end()[0] == 0
    lines = list(map(json.loads, trace.read_text().splitlines()))
    changes = [(line["t"], line["flash"], line["policy"]) for line in lines if "budget" in line]
    (slower, *facts), (faster, *others) = changes
    assert facts == [0.25, "static"] and 41 < slower <= 41 + 32
    assert others == [1, "lru"] and 73 < faster <= 73 + 40
    scores = np.fromfile(f"{trace}.scores", np.float32).reshape(-1, F)
    assert lines == list(replayed(toy, lines, iter(scores), 100_000))


def test_a_flash_is_imitated_or_not(tmp_path: Path, start: Start) -> None:
    toy = FlashToy(tmp_path / "flash toy")
    assert start(toy.folder).error("flash ufs31")["what"] == "no flash is imitated"
    talk = start(toy.folder, "--flash", "ufs40")
    assert talk.ask("flash ufs31") == "ok" and "ufs40" in talk.error("flash tape")["because"]
    for words in ("0 -1", "x 0", "-1 5"):
        assert "time of a read" in talk.error(f"flash {words}")["what"]


def test_memory_as_there_is(tmp_path: Path, start: Start) -> None:
    """Here there is more than the toy needs."""
    talk = start(FlashToy(tmp_path / "flash toy").folder, "--memory", "auto")
    assert talk.ready["tables"]["memory"] == 300_000
    assert talk.ask("budget 100000") == "ok 100000"


def test_words_that_are_no_budget(tmp_path: Path, start: Start) -> None:
    talk = start(FlashToy(tmp_path / "flash toy").folder)
    for word in ("2G", "-1", "9223372036854775808"):
        told = talk.error(f"budget {word}")
        assert told["of"] == "budget" and told["what"] == f"'{word}' is not a count of bytes"
    assert talk.error("budget 90000")["of"] == "budget"
    assert talk.ask("budget 9223372036854775807") == "ok 300000"


def test_a_plan_without_tables_has_none(toy: Toy, start: Start) -> None:
    told = start(toy.folder).error("budget 1000000")
    assert told["what"] == "a budget has no effect here" and "--memory" in told["hint"]
