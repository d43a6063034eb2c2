"""Reads of flash: every byte, every fault by its file and place, and the imitation's clock."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from native import DRIVERS, RACES, build, library_sources

RECORD, COUNT = 64, 4099  # the last page is not whole
PAGE = 4096


@pytest.fixture(
    scope="module",
    params=[(), pytest.param(RACES, marks=pytest.mark.slow)],
    ids=["plain", "sanitized"],
)
def drive(request: pytest.FixtureRequest) -> Path:
    parts = [f for f in library_sources() if f.parent.name in ("base", "offload")]
    own = [DRIVERS / "io_drive.cpp", DRIVERS / "faulty_pread.c"]
    return build("io_drive", [*parts, *own], *request.param, "-fvisibility=hidden")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "flash.0.bin"
    path.write_bytes(b"".join(bytes([r & 255]) * RECORD for r in range(COUNT)))
    return path


def batches(seed: int) -> list[list[tuple[int, int]]]:
    """Runs (first record, records) of each batch; some batches are empty."""
    dice = random.Random(seed)
    found = []
    for _ in range(40):
        runs = []
        for _ in range(dice.choice((0, 1, 3, 17))):
            count = dice.choice((1, 2, 64, 700))
            runs.append((dice.choice((0, COUNT - count, dice.randrange(COUNT - count))), count))
        found.append(runs)
    return found


def spans(runs: list[tuple[int, int]]) -> list[int]:
    """Bytes of each read: whole pages."""
    ends = [(RECORD * r // PAGE * PAGE, -(-RECORD * (r + n) // PAGE) * PAGE) for r, n in runs]
    return [end - begin for begin, end in ends]


def run(drive: Path, *words: object, given: str = "", **env: str) -> tuple[list[str], str]:
    """Answers, and what stood on stderr: of ThreadSanitizer."""
    done = subprocess.run(
        [drive, *map(str, words)],
        input=given,
        capture_output=True,
        text=True,
        env=os.environ | env,
        timeout=120,
    )
    return done.stdout.splitlines(), done.stderr


def lines(found: list[list[tuple[int, int]]]) -> str:
    return "".join(" ".join(f"{r} {n}" for r, n in runs) + " \n" for runs in found) + "\n"


@pytest.mark.parametrize("way", ["storage", "cached"])
@pytest.mark.parametrize("threads", [1, 5])
def test_every_record_comes(drive: Path, file: Path, way: str, threads: int) -> None:
    wanted = batches(threads)
    (opened, *answers, facts), errors = run(
        drive, "read", file, way, threads, 0, given=lines(wanted)
    )
    assert (opened, errors) == ("open", "") and answers == ["right"] * len(wanted)
    told: dict[str, Any] = json.loads(facts)
    sizes = [size for runs in wanted for size in spans(runs)]
    assert told["sizes"] == {str(size): sizes.count(size) for size in sizes}
    assert (told["reads"], told["read"]) == (len(sizes), sum(sizes))
    assert told["used"] == RECORD * sum(n for runs in wanted for _, n in runs)
    assert told["late_share"] == 0 and not (way == "cached" and told["direct"])


# --- the page cache ------------------------------------------------------------------------------


def cached_pages(file: Path) -> int:
    """Pages of a file that the page cache holds."""
    libc = ctypes.CDLL(None, use_errno=True)
    size = file.stat().st_size
    found = (ctypes.c_ubyte * (-(-size // PAGE)))()
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), size) as mapped:
        start = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        assert libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(size), found) == 0
    return sum(each & 1 for each in found)


def dropped(file: Path) -> bool:
    """Whether the cache gives its pages up."""
    with file.open("r+b") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return cached_pages(file) == 0


@pytest.mark.parametrize("through", [False, True])
def test_direct_is_what_leaves_nothing_in_the_cache(drive: Path, file: Path, through: bool) -> None:
    """Also where a file system opens a file past it, and reads it through it all the same."""
    if not dropped(file):
        pytest.skip("the file system keeps what it holds")
    env = {"OPEN_FAULT": "through"} if through else {}
    (_, answer, facts), errors = run(
        drive, "read", file, "storage", 1, 0, given=lines([[(640, 2000)]]), **env
    )
    assert (answer, errors) == ("right", "")
    assert not (through and json.loads(facts)["direct"])
    assert cached_pages(file) <= (0 if json.loads(facts)["direct"] else 16)  # tried, and dropped


def test_pages_of_a_file_that_was_just_written_tell_as_well(drive: Path, file: Path) -> None:
    """They can't be dropped before they are written; the answer is the same."""
    told = [
        json.loads(run(drive, "read", file, "storage", 1, 0, given="\n")[0][-1])["direct"]
        for _ in range(2)
    ]
    assert told[0] == told[1]


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["storage", "cached"])
@pytest.mark.parametrize("fault", ["eagain", "eintr", "short"])
@pytest.mark.parametrize("size", [1, 900])
def test_what_the_system_puts_off_is_read_later(
    drive: Path, file: Path, way: str, fault: str, size: int
) -> None:
    """Of `short` a read brings half of what is asked for: pages, or less than one."""
    nth = "3" if way == "storage" else "2"  # there the storage is tried by two
    env = {"PREAD_FAULT": fault, "PREAD_NTH": nth, "PREAD_TIMES": "1" if fault == "short" else "4"}
    given = lines([[(0, size), (640, size)], [(1000, size)]])
    (_, *answers, facts), errors = run(drive, "read", file, way, 3, 0, given=given, **env)
    assert answers == ["right"] * 2 and errors == ""
    assert json.loads(facts)["reads"] == 3


@pytest.mark.parametrize(
    "fault, times, because",
    [
        ("eio", 1, "Input/output error"),
        ("eagain", 100000, "Resource temporarily unavailable"),
        ("end", 2, "it ends there"),
    ],
)
def test_a_failed_read_names_file_and_place(
    drive: Path, file: Path, fault: str, times: int, because: str
) -> None:
    """One batch fails, and the error stands alone; the next one is right."""
    env = {"PREAD_FAULT": fault, "PREAD_NTH": "3", "PREAD_TIMES": str(times)}
    given = lines([[(0, 64)], [(128, 64), (640, 64)], [(64, 64)]])
    (_, first, second, third, facts), _ = run(
        drive, "read", file, "cached", 1, 0, given=given, **env
    )
    told = json.loads(second)
    assert first == "right"
    assert told["what"] == f"{file} can't be read at byte {640 * RECORD}"
    assert because in told["because"] and told["hint"]
    assert (third == "right") == (times < 9)
    assert json.loads(facts)["reads"] == (3 if times < 9 else 2)


def test_a_file_that_is_cut_under_a_session(drive: Path, file: Path) -> None:
    child = subprocess.Popen(
        [drive, "read", file, "storage", "2", "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin and child.stdout and child.stdout.readline() == "open\n"
    os.truncate(file, 3 * PAGE + 100)
    found, _ = child.communicate(lines([[(0, 64)], [(190, 10)]]), timeout=60)
    first, second, _ = found.splitlines()
    told = json.loads(second)
    assert first == "right"
    assert told["what"] == f"{file} can't be read at byte {3 * PAGE + 100}"
    assert f"told {RECORD * COUNT} bytes" in told["because"]


def test_a_file_that_is_not_there(drive: Path, tmp_path: Path) -> None:
    for way in ("storage", "cached"):
        [answer], _ = run(drive, "read", tmp_path / "none.bin", way, 1, 0)
        assert json.loads(answer)["what"] == f"{tmp_path / 'none.bin'} can't be read"


def test_cancelled_reads_write_nowhere(drive: Path, file: Path) -> None:
    (first, last, later), errors = run(drive, "cancel", file)
    assert (first, later, errors) == ("right", "right", "")
    assert json.loads(last)["because"] == "the run was cancelled"


def test_what_is_given_ahead_counts_while_others_do_not(drive: Path, file: Path) -> None:
    """Launches are tried out while a plan's opening is read."""
    *answers, counted = run(drive, "aside", file)[0]
    assert answers == ["right"] * 4
    first, ahead = spans([(0, 64)]), spans([(100, 64), (300, 64), (2000, 1)])
    expected = {"reads": 1, "read": sum(first), "ahead_reads": 3, "ahead_read": sum(ahead)}
    assert json.loads(counted) == expected


# --- the imitation -------------------------------------------------------------------------------


def test_nothing_is_read_sooner_than_the_flash_would(drive: Path, file: Path) -> None:
    """One queue: threads read side by side, the flash does not."""
    given = lines([[(0, 1), (100, 1)], [(200, 1)], [], [(300, 1)]])
    (_, *answers, facts), errors = run(drive, "read", file, "cached", 4, 0.01, given=given)
    told = json.loads(facts)
    assert answers == ["right"] * 4 and errors == ""
    assert told["seconds"] >= 0.04 and told["reads"] == 4


def imitated(drive: Path, script: str) -> list[float]:
    answers, _ = run(drive, "imitate", given=script)
    return [float(answer) for answer in answers]


def test_batches_follow_each_other(drive: Path) -> None:
    script = "submit 10 1\nsubmit 10.5 2\nleft 11 13\nfinish 13 13\nsubmit 20 1\n"
    assert imitated(drive, script) == [11, 13, 2, 0, 21]


def test_a_little_late_is_caught_up(drive: Path) -> None:
    """A batch that is 1 ms late leaves 1 ms less for the next one, and nothing was late."""
    script = "submit 10 1\nfinish 11.001 11\nsubmit 11.001 1\nfinish 12 12\nsubmit 13 1\n"
    assert imitated(drive, script) == pytest.approx([11, 0, 12, 0, 14])


def test_what_is_late_beyond_is_counted_once(drive: Path) -> None:
    """5 ms: 2 are caught up, 3 are late for good, also for what was given before."""
    script = "submit 10 1\nsubmit 10 1\nfinish 11.005 11\nleft 11.005 12\nfinish 12.003 12\n"
    assert imitated(drive, script) == pytest.approx([11, 12, 0.0015, 0.998, 0.0015])
