"""Thousands of tokens over many sessions: memory stays where it was after a quarter of them."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from flash_toy import FILE, RECORD, FlashToy
from large_toy import REST, large
from native import DRIVERS, SUPPORT, build
from soak import TEXT, TOKENS, rss
from talk import Start
from toy import C, Toy

from toolkit.toolchain.opencl_loader import find_opencl, runner_environment

pytestmark = pytest.mark.slow
A_HANDLE = 200  # tokens
WORDS = " ".join(map(str, TEXT))
SOME = 20_000  # records of each of two tables
FLAT = 4 << 20  # bytes, the allocators' own ups and downs; at most 1 MiB was seen


def test_many_texts_in_one_process(toy: Toy, start: Start) -> None:
    talk = start(toy.folder)
    process, told = str(talk.child.pid), 0
    expected = toy.continued(TEXT, C - len(TEXT) + 1)
    memory = []
    while told < TOKENS:
        first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")
        ids, _ = talk.decode(f"decode {len(TEXT)} {first} {C}")
        assert [first, *ids] == expected
        told += len(ids) + 1
        memory.append(rss(process))
    assert memory[-1] - memory[len(memory) // 4] < FLAT


def test_a_budget_that_changes(tmp_path: Path, start: Start) -> None:
    """Memory follows it, answers don't, and nothing grows: no thread, no file, no memory."""
    toy, slots = large(tmp_path / "large", SOME), 2 * SOME * RECORD.nbytes
    talk, rounds = start(toy.folder, POCL_EXTRA_BUILD_FLAGS=""), 8  # else tokens take long
    process, told, number = Path(f"/proc/{talk.child.pid}"), 0, 0
    expected = toy.continued(TEXT, C - len(TEXT) + 1)
    held: dict[int, list[int]] = {}
    things = list[tuple[int, int]]()
    while told < TOKENS or number < rounds:
        share = (100, 0, 50, 25)[number // 2 % 4]  # each for two texts
        number += 1
        assert talk.ask(f"budget {REST + slots * share // 100}")[:2] == "ok"
        first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")
        ids, _ = talk.decode(f"decode {len(TEXT)} {first} {C}")
        assert [first, *ids] == expected
        told += len(ids) + 1
        held.setdefault(share, []).append(rss(process.name))
        things.append(tuple(len(list((process / each).iterdir())) for each in ("task", "fd")))
    assert set(things) == {things[0]}
    for share, memory in held.items():
        assert memory[-1] - memory[len(memory) // 4] < FLAT
        missing = slots * (100 - share) // 100
        assert abs(held[100][-1] - missing - memory[-1]) < FLAT


def test_reads_that_fail_in_between(tmp_path: Path, start: Start) -> None:
    """Wherever it is, while memory changes: one error with file and place; the text goes on."""
    toy, armed, dice = FlashToy(tmp_path / "flash toy"), tmp_path / "armed", random.Random(4)
    faulty = build("libfaulty_pread.so", [DRIVERS / "faulty_pread.c"], "-shared")
    env = {"LD_PRELOAD": str(faulty), "PREAD_FAULT": "eio", "PREAD_FILE": FILE}
    env |= {"PREAD_ARMED": str(armed), "PREAD_TIMES": "1000000000"}
    talk, told, failed = start(toy.folder, **env), 0, Counter[str]()
    text = toy.continued(TEXT, C - len(TEXT) + 1)
    while told < TOKENS // 2:
        lines = [f"budget {dice.randrange(97_000, 310_000)}", f"prefill 0 {WORDS}"]
        lines += [f"decode {len(TEXT)} {text[0]} {C}"]
        fails = dice.choice((*lines, None, None))
        for line in lines:
            if line == fails:
                armed.touch()
            talk.send(line)
            ids = []
            while (answer := talk.line()).startswith("id "):
                ids.append(int(answer.split()[1]))
            told += len(ids)
            if answer.startswith("error "):
                assert armed.exists() and ids == text[1 : 1 + len(ids)]
                assert re.search(rf"{FILE} can't be read at byte \d+", answer)
                failed[line.split()[0]] += 1
                armed.unlink()
                break
            assert ids == (text[1:] if line.startswith("decode") else [])
    armed.unlink(missing_ok=True)
    assert set(failed) == {"budget", "prefill", "decode"} and failed.total() > 9, failed
    assert talk.end()[0] == 0


def test_many_processes(toy: Toy, start: Start) -> None:
    """Each needs as much as the first: what lies in the cache does not grow either."""
    memory = []
    for _ in range(20):
        talk = start(toy.folder)
        first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")
        talk.decode(f"decode {len(TEXT)} {first} {C}")
        memory.append(rss(str(talk.child.pid)))
        assert talk.end()[0] == 0
    assert max(memory[5:]) - max(memory[:5]) < FLAT


def test_many_handles(demo: Path, cache: Path) -> None:
    """A compiled model, opened and closed again and again in one process."""
    options = {"plan": str(demo), "cache": str(cache), "library": str(find_opencl())}
    rounds = TOKENS // A_HANDLE
    told = soak(**options, rounds=rounds, tokens=A_HANDLE)
    assert told["ids"] == rounds * A_HANDLE
    assert told["end"] - told["quarter"] < FLAT


def soak(**options: object) -> dict[str, int]:
    command = [sys.executable, str(SUPPORT / "soak.py"), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, env=runner_environment())
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
