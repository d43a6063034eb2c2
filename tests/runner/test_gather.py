"""Gathers in the runner, whatever the device is: whose memory is its own, whose driver lacks
something, one that launches carefully; and threads that read, under ThreadSanitizer."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from flash_talk import IDS, PREFILL, is_right
from flash_toy import FILE, PAGE, RECORD, TILE, F, FlashToy
from native import DRIVERS, build
from talk import Start, Talk, failure
from toy import CHUNK, D
from two_phase_toy import TwoPhaseToy

from toolkit.toolchain.build import runner_sources
from toolkit.toolchain.opencl_loader import find_opencl

LITTLE = ("--memory", "100000")


@pytest.fixture
def flash(tmp_path: Path) -> FlashToy:
    return FlashToy(tmp_path / "flash toy")


@pytest.fixture(scope="module")
def null_device() -> Path:
    return build("libnull_opencl.so", [DRIVERS / "null_opencl.c"], "-shared")


@pytest.mark.parametrize("memory", ["100000", "200000", "300000"])
@pytest.mark.parametrize(
    "fake",
    [
        {"FAKE_DISCRETE": "1"},
        {"FAKE_MISSING": ",clEnqueueMarkerWithWaitList,"},
        {"FAKE_MISSING": ",clGetEventInfo,"},
    ],
    ids=["its own memory", "no markers", "no status of events"],
)
def test_devices(
    flash: FlashToy, start: Start, fake_driver: Path, fake: dict[str, str], memory: str
) -> None:
    real = {"FAKE_REAL": str(find_opencl())}
    options = ("--memory", memory, "--cl-lib", str(fake_driver))
    is_right(start(flash.folder, *options, **real, **fake), flash)


def test_what_needs_no_choice_is_launched_before(
    flash: FlashToy, start: Start, fake_driver: Path
) -> None:
    """Also where slots are the device's own memory."""
    for point in flash.plan["points"]:
        point["dense"] = point["pinned"]
    flash.save_json()
    real = {"FAKE_REAL": str(find_opencl()), "FAKE_DISCRETE": "1"}
    is_right(start(flash.folder, *LITTLE, "--cl-lib", str(fake_driver), **real), flash)


def test_records_come_in_two_phases(tmp_path: Path, start: Start, fake_driver: Path) -> None:
    """Also where slots are the device's own memory."""
    toy = TwoPhaseToy(tmp_path / "toy")
    real = {"FAKE_REAL": str(find_opencl()), "FAKE_DISCRETE": "1"}
    is_right(start(toy.folder, *LITTLE, "--cl-lib", str(fake_driver), **real), toy)


def test_threads_compute_beside_memory_of_its_own(
    flash: FlashToy, start: Start, fake_driver: Path
) -> None:
    """What lands; what lies in slots is the device's alone."""
    real = {"FAKE_REAL": str(find_opencl()), "FAKE_DISCRETE": "1"}
    options = ("--memory", "150000", "--cl-lib", str(fake_driver), "--engine")
    talk = start(flash.folder, *options, "both", **real)
    is_right(talk, flash)
    told = talk.stats()["tables"]
    assert told["engine"]["records"] == told["selected"] - told["hits"] > 0
    # x [CHUNK, D] as it comes and as floats, gates of F likewise, and 8 sums.
    assert told["engine"]["bytes"] >= 4 * CHUNK * (2 * D + 2 * F + 8 * D)
    refused = start(flash.folder, *options, "threads", **real)
    assert "--engine both" in failure(refused.first)["hint"]


@pytest.mark.parametrize("engine", ["threads", "both"])
def test_a_unit_of_other_shapes_is_one_error(flash: FlashToy, start: Start, engine: str) -> None:
    """When nothing was begun yet that would be ended."""
    for phase in flash.plan["phases"]:
        for step in phase["steps"]:
            if "unit" in step:
                step["unit"]["x"] = step["unit"]["given"]  # of F numbers in place of D
    flash.save_json()
    talk = start(flash.folder, *LITTLE, "--engine", engine)
    for _ in range(2):
        assert "other shapes" in failure(talk.ask(PREFILL))["because"]
    assert talk.end()[0] == 0


def test_a_point_without_its_engine_changes_nothing(
    flash: FlashToy, start: Start, fake_driver: Path
) -> None:
    """It is refused before any record has another place."""
    flash.plan["points"][1]["engine"] = "threads"
    flash.save_json()
    real = {"FAKE_REAL": str(find_opencl()), "FAKE_DISCRETE": "1"}
    talk = start(flash.folder, *LITTLE, "--cl-lib", str(fake_driver), **real)
    is_right(talk, flash)
    for _ in range(2):
        assert talk.error("budget 200000")["hint"] == "--engine both"
    is_right(talk, flash)
    assert talk.stats()["tables"]["memory"] == 100_000


def test_profiles_time_each_launch(flash: FlashToy, start: Start, tmp_path: Path) -> None:
    """One for what is resident, and those for each cluster."""
    talk = start(flash.folder, "--profile", *LITTLE, "--trace-access", str(tmp_path / "trace"))
    first = talk.next(PREFILL)
    assert talk.ask("profile") == "ok"
    talk.next(f"step {len(IDS)} {first}")
    talk.ask(f"profile {tmp_path / 'profile'}")
    spans = json.loads((tmp_path / "profile").read_text())
    assert {"layers.0.neurons", "layers.1.neurons"} <= {span["name"] for span in spans}


def test_a_gather_at_the_end_runs(flash: FlashToy, start: Start, tmp_path: Path) -> None:
    """Behind the ids that the phase hands over."""
    for phase in flash.plan["phases"]:
        phase["steps"].append(phase["steps"][7])
    for point in flash.plan["points"]:
        point["select"] = [0.0] * 9
    flash.save_json()
    trace = tmp_path / "trace"
    talk = start(flash.folder, *LITTLE, "--trace-access", str(trace))
    talk.next(PREFILL)
    assert talk.end()[0] == 0
    gathers = [json.loads(line)["g"] for line in trace.read_text().splitlines()]
    assert gathers == [0, 1, 2] * -(-len(IDS) // CHUNK)


def test_no_driver_is_blamed_for_a_read(flash: FlashToy, start: Start, tmp_path: Path) -> None:
    """The journal names a launch until this has ended, and not while flash is read."""
    journal = tmp_path / "journal"
    talk = start(flash.folder, *LITTLE, "--journal", str(journal))
    os.truncate(flash.folder / FILE, 0)
    assert FILE in talk.error(PREFILL)["what"]
    assert journal.read_text() == f"{talk.child.pid}\n"


def test_sizes_are_those_of_the_table(flash: FlashToy, start: Start) -> None:
    """A product that is too large for the largest table there may be, and not for this one."""
    for phase in flash.plan["phases"]:
        for number in (4, 7):
            variant = phase["steps"][number]["dispatches"][0]["variants"][0]
            variant["global"] = [["records", 2**40, "*", 2**40, "//", 1, "+"]]
    flash.save_json()
    is_right(start(flash.folder, *LITTLE), flash)


def test_what_is_said_and_counted(flash: FlashToy, start: Start, tmp_path: Path) -> None:
    """Counts are those of the trace's lines, and the pinned records before them."""
    trace = tmp_path / "trace"
    talk = start(flash.folder, *LITTLE, "--trace-access", str(trace))
    assert talk.ready["tables"]["memory"] == 100_000
    opened = json.loads(talk.ask("stats").removeprefix("stats "))["tables"]
    is_right(talk, flash)
    counts = json.loads(talk.ask("stats").removeprefix("stats "))["tables"]
    assert talk.end()[0] == 0
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    assert counts["selected"] == sum(len(line["sel"]) for line in lines)
    assert counts["hits"] == sum(line["hit"] for line in lines)
    assert counts["reads"] - opened["reads"] == sum(len(line["runs"]) for line in lines)
    assert counts["read_bytes"] - opened["read_bytes"] == sum(line["read"] for line in lines)
    assert counts["used_bytes"] - opened["used_bytes"] == sum(line["used"] for line in lines)
    assert sum(counts["read_sizes"].values()) == counts["reads"]


def test_a_trace_that_cannot_be_written(flash: FlashToy, start: Start, tmp_path: Path) -> None:
    """No slot holds what was never read."""
    os.mkfifo(trace := tmp_path / "trace")
    reader = os.open(trace, os.O_RDONLY | os.O_NONBLOCK)
    talk = start(flash.folder, *LITTLE, "--trace-access", str(trace))
    os.close(reader)
    assert str(trace) in talk.error(PREFILL)["what"]
    reader = os.open(trace, os.O_RDONLY | os.O_NONBLOCK)
    is_right(talk, flash)
    os.close(reader)


def test_imitated_flash(flash: FlashToy, start: Start) -> None:
    is_right(start(flash.folder, *LITTLE, "--flash", "ufs40"), flash)
    facts = failure(start(flash.folder, "--flash", "floppy").first)
    assert facts["what"] == "no flash is called floppy" and "ufs40" in facts["because"]


def test_too_little_memory(flash: FlashToy, start: Start) -> None:
    facts = failure(start(flash.folder, "--memory", "90000").first)
    assert facts["what"] == "the plan does not run in 90000 bytes"
    assert f"--memory {100_000 - 20 * RECORD.nbytes}" in facts["hint"]


def test_slots_need_room(flash: FlashToy, start: Start, null_device: Path) -> None:
    """They count where memory is asked for, before anything is allocated."""
    facts = failure(start(flash.folder, "--cl-lib", str(null_device), NULL_CL_MEMORY="9999").first)
    slots = int(facts["because"].split(", slots ")[1])
    assert slots > 2 * F * RECORD.nbytes and "--memory" in facts["hint"]
    assert start(flash.folder).ready["tables"]["slot_bytes"] == slots


@pytest.mark.parametrize("discrete", [False, True])
def test_room_for_what_is_read(
    flash: FlashToy, start: Start, fake_driver: Path, discrete: bool
) -> None:
    """Some launches of the gather whose records take most, two where a plan says nothing of that:
    others have more, or larger ones."""
    flash.plan["tables"][1]["bytes"] = 4096
    for phase in flash.plan["phases"]:
        for number, tile in ((4, TILE), (7, 3)):
            phase["steps"][number]["tile"] = tile
            for key in ("choose", "whole"):
                phase["steps"][number].pop(key, None)
    tiles = 5 if discrete else 2
    if discrete:
        flash.plan["points"][2]["tiles"] = tiles
    flash.save_json()
    staged = tiles * max(TILE * RECORD.nbytes, 3 * 4096)
    ticket, slots = 4 * (4 + 2 * F), F * (RECORD.nbytes + 4096)  # four of the host's, the device's
    own = {"FAKE_REAL": str(find_opencl())} | ({"FAKE_DISCRETE": "1"} if discrete else {})
    talk = start(flash.folder, "--cl-lib", str(fake_driver), **own)
    pages, copies = 2 * 4 * PAGE, 2 if discrete else 1  # of threads; on the host and the device
    found, opened = talk.ready["tables"]["slot_bytes"], slots if discrete else 0  # by a map
    assert found == copies * (staged + 4 * ticket) + ticket + pages + slots + opened


@pytest.mark.slow
def test_threads_do_not_race(flash: FlashToy, start: Start) -> None:
    flags = ("-fsanitize=thread", "-g1", "-O1", "-fvisibility=hidden")
    program = build("pocketcl-runner", runner_sources(), *flags)
    quiet = {"TSAN_OPTIONS": "exitcode=66 ignore_noninstrumented_modules=1"}
    for point in flash.plan["points"]:
        point["threads"] = 4
    flash.save_json()
    for memory, engine in (("100000", "device"), ("200000", "device"), ("100000", "both")):
        options = ("--memory", memory, "--engine", engine)
        talk = start(flash.folder, *options, program=program, **quiet)
        is_right(talk, flash)
        code, said = talk.end()
        assert code == 0 and "ThreadSanitizer" not in said, said


# --- the start -----------------------------------------------------------------------------------


def warmed(flash: FlashToy, start: Start, folder: Path, *options: str, **env: str) -> Talk:
    """A runner that begins with what another had in memory."""
    before = start(flash.folder, *LITTLE, "--warm", str(folder))
    is_right(before, flash)
    assert before.end()[0] == 0 and len(list(folder.iterdir())) == 1
    return start(flash.folder, *LITTLE, "--warm", str(folder), *options, **env)


def written_records(log: Path) -> list[int]:
    """Of each write of a buffer that brings whole records, how many."""
    lines = [line.split() for line in log.read_text().splitlines()]
    sizes = [int(words[1]) for words in lines if words[0] == "write"]
    return [size // RECORD.nbytes for size in sizes if size % RECORD.nbytes == 0]


@pytest.mark.parametrize("warm", [False, True])
def test_the_start_writes_runs_of_records(
    flash: FlashToy, start: Start, fake_driver: Path, tmp_path: Path, warm: bool
) -> None:
    """Where the device has memory of its own that isn't mapped: what is read together, not each by
    itself.
    """
    log, trace = tmp_path / "log", tmp_path / "trace"
    env = {"FAKE_REAL": str(find_opencl()), "FAKE_DISCRETE": "1"}
    env |= {"FAKE_MISSING": ",clEnqueueMapBuffer,"}
    env |= {"FAKE_LOG": str(log), "FAKE_WRITES": "1"}
    options = ("--cl-lib", str(fake_driver), "--trace-access", str(trace))
    if not warm:  # all are pinned: as many writes as reads
        start(flash.folder, *options, **env)
        reads = -(-F * RECORD.nbytes // (4 * PAGE)) + -(-F // 4)
        found = written_records(log)
        assert sum(found) == 2 * F and len(found) == reads
        return
    warmed(flash, start, tmp_path / "warm", *options, **env)
    found = written_records(log)
    opened = [json.loads(line) for line in trace.read_text().splitlines()]
    assert sum(found) == sum(len(line["sel"]) for line in opened)
    assert len(found) <= sum(len(line["runs"]) for line in opened) < sum(found)


@pytest.mark.parametrize("memory, pinned", [("100000", [3]), ("200000", [7, 33])])
def test_the_start_maps_what_it_fills(
    flash: FlashToy, start: Start, fake_driver: Path, tmp_path: Path, memory: str, pinned: list[int]
) -> None:
    """Not all slots, though of a device's own memory; and what is mapped is counted."""
    env = {"FAKE_REAL": str(find_opencl()), "FAKE_DISCRETE": "1", "FAKE_WRITES": "1"}
    options, log = ("--memory", memory, "--cl-lib", str(fake_driver)), tmp_path / "log"
    talk = start(flash.folder, *options, FAKE_LOG=str(log), **env)
    lines = [line.split() for line in log.read_text().splitlines()]
    mapped = [int(words[1]) for words in lines if words[0] == "map"]
    assert mapped == [count * RECORD.nbytes for count in pinned]
    written = start(flash.folder, *options, FAKE_MISSING=",clEnqueueMapBuffer,", **env)
    more, counted = (each.ready["tables"]["slot_bytes"] for each in (talk, written))
    assert more == counted + sum(mapped)
    is_right(talk, flash)


MEMORIES = {  # of a device: the host's; its own, mapped, or not, or by no queue
    "shared": {},
    "mapped": {"FAKE_DISCRETE": "1"},
    "written": {"FAKE_DISCRETE": "1", "FAKE_MISSING": ",clEnqueueMapBuffer,"},
    "one queue": {"FAKE_DISCRETE": "1", "FAKE_QUEUES": "1"},
}


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_warm_start_on_any_memory(
    flash: FlashToy, start: Start, fake_driver: Path, tmp_path: Path, memory: str
) -> None:
    log = tmp_path / "log"
    env = MEMORIES[memory] | {"FAKE_REAL": str(find_opencl())}
    env |= {"FAKE_LOG": str(log), "FAKE_WRITES": "1"}
    talk = warmed(flash, start, tmp_path / "warm", "--cl-lib", str(fake_driver), **env)
    is_written = memory in ("written", "one queue")
    assert (written_records(log) != []) == is_written  # by a queue, at the start
    is_right(talk, flash)
    counts = json.loads(talk.ask("stats").removeprefix("stats "))["tables"]
    assert counts["warm_records"] > 0 and counts["ahead_bytes"] > 0


@pytest.mark.parametrize("memory", ["shared", "mapped"])
@pytest.mark.parametrize("times", ["1", "1000000"])
def test_what_cannot_be_read_ahead_is_read_later(
    flash: FlashToy, start: Start, fake_driver: Path, tmp_path: Path, times: str, memory: str
) -> None:
    """No slot holds what never came; the gather that needs it says so, if it can't be read then.

    The start waits for none of it, whatever memory the device has.
    """
    faulty = build("libfaulty_pread.so", [DRIVERS / "faulty_pread.c"], "-shared")
    env = {"LD_PRELOAD": str(faulty), "PREAD_FAULT": "eio", "PREAD_FILE": FILE}
    env |= {"PREAD_NTH": "2", "PREAD_TIMES": times, "FAKE_REAL": str(find_opencl())}
    options = ("--flash", "a18", "--cl-lib", str(fake_driver))
    talk = warmed(flash, start, tmp_path / "warm", *options, **env, **MEMORIES[memory])
    if times == "1":
        return is_right(talk, flash)
    told = talk.ask(PREFILL)
    assert told.startswith("error ") and FILE in told


def test_a_full_disk_keeps_what_was_there(
    flash: FlashToy, start: Start, tmp_path: Path, program: Path
) -> None:
    folder = tmp_path / "warm"
    talk = warmed(flash, start, folder)
    [file] = folder.iterdir()
    before = file.read_bytes()
    talk.child.kill()
    full = tmp_path / "full"
    full.write_text(f"#!/bin/sh\ntrap '' XFSZ\nulimit -f 0\nexec {program} \"$@\"\n")
    full.chmod(0o755)
    talk = start(flash.folder, "--memory", "98000", "--warm", str(folder), program=full)
    is_right(talk, flash)
    assert talk.end()[0] == 0
    assert [each.name for each in folder.iterdir()] == [file.name]
    assert file.read_bytes() == before
