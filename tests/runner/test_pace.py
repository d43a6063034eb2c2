"""What a device is given at once is bounded in time; the answers are the same bits."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fatal_toy import Driver
from scripts import answers, script
from talk import Start, Talk
from toy import CHUNK, C, D, Toy

from toolkit import compile
from toolkit.toolchain.opencl_loader import find_opencl

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
BUDGET = 4000  # microseconds, on GPUs
PROMPT = f"prefill 0 {' '.join(map(str, range(1, CHUNK + 1)))}"
LAUNCH = re.compile(r"launched (\S+) (\d+)\+(\d+)")
Watched = Callable[..., tuple[Talk, Callable[[str], list[str]]]]


def cut(toy: Toy, **microseconds: int) -> None:
    """All launches may be cut; predictions for whole chunks, by kernel."""
    for each in toy.plan["phases"][0]["steps"] + toy.plan["phases"][1]["steps"]:
        for variant in each.get("variants", ()):
            variant["cut"] = 0
    for each in toy.plan["phases"][0]["steps"]:
        name = each.get("name", "").removeprefix("toy.")
        if name in microseconds:
            each["microseconds"] = microseconds[name]
    toy.save()


@pytest.fixture
def watched(start: Start, fake_driver: Path, tmp_path: Path) -> Watched:
    """Starts a runner on what says that it is a GPU; and what a line makes it do."""

    def run(toy: Toy, *options: str) -> tuple[Talk, Callable[[str], list[str]]]:
        log = tmp_path / "log"
        env = {"FAKE_GPU": "1", "FAKE_LAUNCHES": "1", "FAKE_LOG": str(log)}
        words = ("--cl-lib", str(fake_driver), "--recorded", "off", *options)
        talk = start(toy.folder, *words, FAKE_REAL=str(find_opencl()), **env)

        def told(line: str) -> list[str]:
            before = len(log.read_text()) if log.exists() else 0
            talk.next(line)
            return log.read_text()[before:].splitlines()

        return talk, told

    return run


def pieces(told: list[str]) -> list[list[tuple[int, int]]]:
    """Of each launch: the offset and the size of its pieces."""
    found: list[list[tuple[int, int]]] = []
    for kernel, offset, size in (m.groups() for m in map(LAUNCH.match, told) if m):
        if int(offset) == 0:
            found.append([])
        assert kernel
        found[-1].append((int(offset), int(size)))
    return found


# --- by the model --------------------------------------------------------------------------------


def test_a_long_launch_is_cut(toy: Toy, watched: Watched) -> None:
    cut(toy, embed=1, remember=1, recall=10 * BUDGET, logits=2 * BUDGET + 1, pick=1)
    _, told = watched(toy)
    embed, remember, recall, logits, pick = pieces(told(PROMPT))
    items = CHUNK * D
    assert embed == remember == [(0, items)] and pick == [(0, 1)]
    assert len(recall) == 10 and len(logits) > 1
    assert recall[0][0] == 0 and sum(size for _, size in recall) == items
    for (offset, size), (after, _) in pairwise(recall):
        assert offset + size == after
    # one element more than the share of a budget, as items are whole
    assert max(size for _, size in recall) <= items // 10 + 1


def test_short_launches_are_given_together(toy: Toy, watched: Watched) -> None:
    cut(toy, embed=1500, remember=1500, recall=1500, logits=50, pick=50)
    _, told = watched(toy)
    lines = [line for line in told(PROMPT) if line == "flush" or line.startswith("launched")]
    kinds = [line.split()[0] for line in lines]
    assert kinds == ["launched"] * 2 + ["flush"] + ["launched"] * 3 + ["flush"]


def test_at_most_two_flushes_are_unfinished(toy: Toy, watched: Watched) -> None:
    cut(toy, recall=100 * BUDGET)
    _, told = watched(toy)
    lines = told(PROMPT)
    assert lines.count("marked") > 5
    unfinished = 0
    for line in lines:
        unfinished += (line == "marked") - (line == "waited")
        unfinished *= line != "read"  # a read waits for all before it
        assert unfinished <= 2


def test_without_a_budget(toy: Toy, watched: Watched) -> None:
    cut(toy, recall=100 * BUDGET)
    _, told = watched(toy, "--slice", "0")
    lines = told(PROMPT)
    assert all(len(each) == 1 for each in pieces(lines)) and "marked" not in lines


def test_what_may_not_be_cut(toy: Toy, watched: Watched) -> None:
    cut(toy, recall=10 * BUDGET)
    del toy.plan["phases"][0]["steps"][2]["variants"][0]["cut"]
    toy.save()
    _, told = watched(toy)
    assert all(len(each) == 1 for each in pieces(told(PROMPT)))


def test_a_plan_that_predicts_nothing(toy: Toy, watched: Watched) -> None:
    """Each launch is measured alone, and then they are given together."""
    _, told = watched(toy)
    assert told(PROMPT).count("marked") == 5
    assert any(told(PROMPT).count("marked") < 5 for _ in range(30))


# --- corrected by what is measured ---------------------------------------------------------------


def test_a_prediction_that_is_too_long(toy: Toy, watched: Watched) -> None:
    cut(toy, recall=1000 * BUDGET)
    _, told = watched(toy)
    assert len(pieces(told(PROMPT))[2]) == CHUNK * D
    assert any(len(pieces(told(PROMPT))[2]) == 1 for _ in range(30))


def test_a_prediction_that_is_too_short(toy: Toy, watched: Watched) -> None:
    spin = "for (volatile int i = 0; i < 200000; ++i);\n  y[row * D + d] = sum;"
    toy.sources["recall"] = toy.sources["recall"].replace("y[row * D + d] = sum;", spin)
    cut(toy, embed=1, remember=1, recall=1, logits=1, pick=1)
    _, told = watched(toy, "--slice", str(BUDGET // 8))  # far less than it takes on any processor
    assert len(pieces(told(PROMPT))[2]) == 1
    assert any(len(pieces(told(PROMPT))[2]) > 1 for _ in range(300))


def test_what_is_refused_counts_in_no_batch(fatal: Toy, driver: Driver, log: Path) -> None:
    """A variant that would fill a budget: the next one is not flushed for its sake."""
    cut(fatal, embed=BUDGET - 100, remember=10, recall=10, logits=10, pick=10)
    paced = ("--slice", str(BUDGET), "--recorded", "off", "--child-builds", "off")
    driver("", *paced, at="launch", FAKE_CODE="-54", FAKE_LAUNCHES="1").next(PROMPT)
    told = [line.split()[0] for line in log.read_text().splitlines()]
    _, _, after = "\n".join(told).partition("launch\n")
    assert after.startswith("launched\n") and after.split().count("marked") == 1


# --- the same answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", ["off", "on"])
@pytest.mark.parametrize("seed", range(2))
def test_the_same_bits(toy: Toy, start: Start, tmp_path: Path, recorded: str, seed: int) -> None:
    cut(toy, embed=300, remember=300, recall=300, logits=300, pick=300)
    found: list[Any] = []
    for budget in ("0", "20"):
        talk = start(toy.folder, "--slice", budget, "--recorded", recorded)
        found.append(answers(talk, script(50, C, 8, seed), tmp_path / "logits"))
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_same_bits_of_a_plan_for_a_phone(
    start: Start, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    plan = tmp_path_factory.mktemp("phone") / "demo.plan"
    compile(DEMO, plan, device="adreno")
    lines = ["prefill 0 " + " ".join(map(str, range(40))), "decode 40 3 4"]
    found = [
        answers(start(plan, "--slice", budget), lines, tmp_path / "logits") for budget in ("0", "1")
    ]
    assert found[0] == found[1]
