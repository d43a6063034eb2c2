"""Records of tables come into their slots: the machine, the store and the pool together."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_toy import FILE, RECORD, F, FlashToy
from native import DRIVERS, RACES, build, library_sources
from spoiled_warm import SPOILED

from toolkit.plan.load import plan_digest
from toolkit.toolchain.build import SOURCES

THREADS = 3
Asked = Callable[[str], Any]


@pytest.fixture(
    scope="module",
    params=[(), pytest.param(RACES, marks=pytest.mark.slow)],
    ids=["plain", "sanitized"],
)
def drive(request: pytest.FixtureRequest) -> Path:
    parts = [f for f in library_sources() if f.parent.name in ("base", "offload", "plan")]
    own = [DRIVERS / "flash_drive.cpp", DRIVERS / "faulty_pread.c", SOURCES / "gather/warm_set.cpp"]
    return build("flash_drive", [*parts, *own], *request.param, "-fvisibility=hidden")


@pytest.fixture
def toy(tmp_path: Path) -> FlashToy:
    return FlashToy(tmp_path / "flash toy")


@pytest.fixture
def opened(drive: Path, toy: FlashToy) -> Iterator[Callable[..., Asked]]:
    """Opens the toy; a line and what is said to it. ThreadSanitizer has said nothing at the end."""
    children: list[subprocess.Popen[str]] = []

    def run(memory: int = 0, **env: str) -> Asked:
        pipe = subprocess.PIPE
        command = [drive, toy.folder, str(memory), str(THREADS)]
        child = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=os.environ | env
        )
        children.append(child)

        def ask(line: str) -> Any:
            assert child.stdin and child.stdout
            child.stdin.write(f"{line}\n")
            child.stdin.flush()
            answer = child.stdout.readline()
            return answer.strip() if answer == "ok\n" else json.loads(answer)

        return ask

    yield run
    for child in children:
        assert child.communicate(timeout=60) == ("", "") and child.returncode == 0


def gathers(seed: int, count: int = 40) -> list[str]:
    """Of both tables, from all records to none."""
    random = np.random.default_rng(seed)
    thresholds = random.choice([-1, 0.3, 0.8, 0.9, 2], count)
    tables = random.integers(0, 2, count)
    return [
        f"gather {table} {threshold} {i}"
        for i, (table, threshold) in enumerate(zip(tables, thresholds, strict=True))
    ]


@pytest.mark.parametrize("memory", [100_000, 200_000, 0])
def test_every_launch_has_its_records(opened: Callable[..., Asked], memory: int) -> None:
    ask = opened(memory)
    answers = [ask(line) for line in gathers(memory)]
    assert {len(answer["sel"]) for answer in answers} >= {0, F}
    assert any(answer["read"] for answer in answers) == bool(memory)


def test_they_have_them_while_memory_changes(opened: Callable[..., Asked]) -> None:
    ask = opened(100_000)
    evicted = 0
    for i, line in enumerate(gathers(7, 60)):
        if i % 4 == 3:
            assert ask(f"memory {(100_000, 200_000, 300_000)[i // 4 % 3]}") == "ok"
        evicted += len(ask(line)["evict"])
    assert evicted > 50


def test_a_read_that_fails_leaves_no_stale_slot(
    opened: Callable[..., Asked], tmp_path: Path
) -> None:
    """Some gathers meet an error; what comes after them is right."""
    armed = tmp_path / "armed"
    fault = {"PREAD_FAULT": "eio", "PREAD_NTH": "12", "PREAD_TIMES": "40"}
    ask = opened(100_000, PREAD_ARMED=str(armed), **fault)
    lines = gathers(3, 80)
    answers = [ask(lines[0])]  # the plan is open: reads of its opening are no gather's
    assert "sel" in answers[0]
    armed.touch()
    answers += [ask(line) for line in lines[1:]]
    failed = [answer for answer in answers if "what" in answer]
    assert failed and all(FILE in answer["what"] for answer in failed)
    assert all("Input/output error" in answer["because"] for answer in failed)
    assert sum("sel" in answer and len(answer["admit"]) > 0 for answer in answers[-30:]) > 5


def test_a_file_that_is_cut_and_comes_back(opened: Callable[..., Asked], toy: FlashToy) -> None:
    ask = opened(100_000)
    file = toy.folder / FILE
    content = file.read_bytes()
    assert "sel" in ask("gather 1 0.9 1")
    os.truncate(file, len(content) // 2)
    told = ask("gather 1 -1 2")
    assert told["what"].startswith(f"{file} can't be read at byte ")
    assert "it has been cut" in told["because"]
    with file.open("r+b") as whole:
        whole.write(content)
    answers = [ask(line) for line in gathers(5)]
    assert all("sel" in answer for answer in answers)


def test_an_order_that_names_an_index_twice(drive: Path, toy: FlashToy) -> None:
    toy.layers[0].order[3] = toy.layers[0].order[4]
    toy.save()
    done = subprocess.run([drive, toy.folder, "0", "1"], capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert done.returncode == 1 and told["what"].endswith("weights.0.bin is damaged")
    assert "order does not have each of 0 to 64 once" in told["because"]


def test_less_memory_than_any_point_takes(drive: Path, toy: FlashToy) -> None:
    done = subprocess.run([drive, toy.folder, "90000", "1"], capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert told["what"] == "the plan does not run in 90000 bytes"
    assert f"--memory {100_000 - 20 * RECORD.nbytes}" in told["hint"]


def test_warm_sets_that_are_none(
    opened: Callable[..., Asked], toy: FlashToy, tmp_path: Path
) -> None:
    """The file comes back as it was written; spoiled, it is none."""
    ask, folder = opened(100_000), tmp_path / "warm"
    assert ask(f"warm {folder}") == []
    for line in gathers(5, 20):
        ask(line)
    assert ask(f"keep {folder}") == "ok"
    [file] = folder.iterdir()
    assert file.name == plan_digest(toy.folder) and file.stat().st_mode & 0o077 == 0
    whole, kept = file.read_bytes(), ask(f"warm {folder}")
    assert [len(records) for records in kept] == [11, 9] and kept[0][:3] == [0, 1, 2]
    for name, spoil in SPOILED.items():
        spoil(file)
        assert ask(f"warm {folder}") == [], name
        shutil.rmtree(folder)
        folder.mkdir()
        file.write_bytes(whole)
    assert ask(f"warm {folder}") == kept
