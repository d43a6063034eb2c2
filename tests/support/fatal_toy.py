"""A toy with a kernel that the fake driver gets wrong, refuses or dies of; and runners on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from talk import Start, Talk
from toy import SOURCES, D, Toy, V

from toolkit.compiler.vectors.drawn import expected_of, filled
from toolkit.plan.schema import Fill
from toolkit.toolchain.opencl_loader import find_opencl

Driver = Callable[..., Talk]


@pytest.fixture
def fatal(toy: Toy) -> Toy:
    """A toy whose first dispatch has a variant before the usual one: FATAL to the fake driver.

    Its plan has a test of both.
    """
    toy.sources["risky"] = SOURCES["embed"].replace("embed(", "fatal_name(") + "// FATAL\n"
    toy.plan["programs"].append(
        {**toy.plan["programs"][0], "source": "kernels/risky.cl", "kernel": "fatal_name"}
    )
    for phase in toy.plan["phases"]:
        good = phase["steps"][0]["variants"][0]
        phase["steps"][0]["variants"] = [{**good, "program": len(toy.plan["programs"]) - 1}, good]
    toy.plan["tests"] = [embed_test(toy)]
    toy.save()
    return toy


def embed_test(toy: Toy, tokens: int = 5) -> dict[str, Any]:
    """A test of the toy's first dispatch, as plan.json has it."""
    ids = Fill(1, tokens, 0, V)
    rows = toy.table[filled(ids, np.dtype(np.int32))]
    assert rows.shape == (tokens, D)
    expected = [expected_of(3, (1, 0), rows, None), expected_of(3, (1, 0), rows, None, D)]
    test = {"phase": 0, "step": 0, "symbols": [tokens, 2, 1, 0], "fills": [asdict(ids)]}
    return test | {"expected": list(map(asdict, expected))}


def remember_test(toy: Toy, tokens: int = 5, past: int = 2) -> dict[str, Any]:
    """A test of the toy's second dispatch, which reads what the first test left."""
    rows = toy.table[filled(Fill(1, tokens, 0, V), np.dtype(np.int32))]
    expected = replace(expected_of(2, (1, 0), rows, None), first=past * D)
    test = {"phase": 0, "step": 1, "symbols": [tokens, past, 1, 0], "fills": [], "after": 0}
    return test | {"expected": [asdict(expected)]}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "log"
    file.touch()
    return file


@pytest.fixture
def driver(fatal: Toy, start: Start, fake_driver: Path, tmp_path: Path, log: Path) -> Driver:
    """Starts a runner with an empty cache of its own, on a driver that dies as it is told."""

    def run(death: str, *options: str, at: str = "", **env: str) -> Talk:
        env = {"FAKE_DEATH": death, "FAKE_AT": at, "FAKE_LOG": str(log)} | env
        env |= {"FAKE_REAL": str(find_opencl())}
        cache = ("--cache", str(tmp_path / "own"))
        return start(fatal.folder, "--cl-lib", str(fake_driver), *cache, *options, **env)

    return run


def builds(log: Path) -> int:
    return log.read_text().count("build\n")


def is_right(talk: Talk, toy: Toy) -> None:
    assert talk.next("prefill 0 3 1 4") == toy.next([3, 1, 4])
    assert talk.decode("decode 0 3 4")[0] == toy.continued([3], 4)
