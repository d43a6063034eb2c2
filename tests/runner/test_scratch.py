"""Both loaders know the same of scratch memory and launch sizes: who overlaps whom, what fits."""

from __future__ import annotations

import itertools
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edits import both, put
from talk import failure
from toy import Toy

from toolkit.errors import PocketError
from toolkit.plan.load import load_plan

Edit = Callable[[dict[str, Any]], None]
Y, STEPS = "phases.0.scratch.1.offset", "phases.0.steps"
REFUSED = "phases[0].scratch[1].offset"


# x is used by steps 0 and 1, y by steps 2 and 3; steps 5 and 6 fetch and wait.
OVERLAP = put(Y, 384)
UNUSED_Y = both(*(put(f"{STEPS}.{i}.args.{j}", ["scratch", 0]) for i, j in ((2, 2), (3, 1))))
UNUSED_X = both(*(put(f"{STEPS}.{i}.args.{j}", ["scratch", 1]) for i, j in ((0, 3), (1, 1))))
LATE_Y = both(put(f"{STEPS}.0.args.3", ["buffer", 3]), put(f"{STEPS}.1.args.1", ["buffer", 3]))
CASES = {
    "apart": (put(Y, 512), None),
    "one after the other": (OVERLAP, None),
    "one in the other": (both(OVERLAP, put(f"{STEPS}.2.args.1", ["scratch", 0])), REFUSED),
    "a dispatch of another queue": (both(OVERLAP, put(f"{STEPS}.2.queue", 1)), REFUSED),
    "a wait for another queue": (both(OVERLAP, put(f"{STEPS}.6.queue", 1)), REFUSED),
    "a fetch by another queue": (both(OVERLAP, put(f"{STEPS}.5.queue", 1)), REFUSED),
    "of another queue, apart": (both(put(Y, 512), put(f"{STEPS}.2.queue", 1)), None),
    "all of another queue": (
        both(OVERLAP, *(put(f"{STEPS}.{i}.queue", 1) for i in range(7))),
        None,
    ),
    "y is never used": (both(OVERLAP, UNUSED_Y), REFUSED),  # as if it were at step 0
    "x is never used": (both(OVERLAP, UNUSED_X), "phases[0].scratch[1].offset"),
    "x is never used, y later": (both(OVERLAP, LATE_Y), None),
    "the same place": (both(put(Y, 0), put(f"{STEPS}.2.args.1", ["scratch", 0])), REFUSED),
    "a size that is larger in between": (
        both(
            put("phases.0.scratch.0.size", ["seq", 7, "%", 64, "*"]),  # 384 at 6, 64 at 1 and 8
            put("phases.0.scratch.0.bytes", 64),
            put("phases.0.scratch.0.shape", [16]),
        ),
        "phases[0].scratch[0].bytes",
    ),
    "a multiple at both ends only": (
        both(
            put(f"{STEPS}.0.variants.0.global", [["seq", 7, "%", 3, "+"]]),  # 4 at 1 and 8
            put(f"{STEPS}.0.variants.0.local", [4]),
        ),
        "phases[0].steps[0].variants[0].global[0]",
    ),
    "a multiple everywhere": (
        both(
            put(f"{STEPS}.0.variants.0.global", [["seq", 3, "+", 4, "//", 8, "*"]]),
            put(f"{STEPS}.0.variants.0.local", [8]),
        ),
        None,
    ),
    "a size that may be negative": (
        put(f"{STEPS}.0.variants.0.global", [["seq", 2, "-"]]),
        "phases[0].steps[0].variants[0].global[0]",
    ),
}


def check_by_runner(program: Path, folder: Path) -> str:
    """Where the plan is wrong; empty where it isn't."""
    done = subprocess.run([program, "--check", folder], capture_output=True, text=True)
    line = done.stdout.strip()
    return "" if line == "ok 3 phases" else str(failure(line)["what"]).split(": ")[-1]


def check_by_host(program: Path, folder: Path) -> str:
    try:
        load_plan(folder)
    except PocketError as error:
        return error.what.split(" ")[-1]
    return ""


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("check", [check_by_runner, check_by_host])
def test_same_answer(program: Path, toy: Toy, check: Any, name: str) -> None:
    edit, named = CASES[name]
    toy.save_json(edit)
    assert check(program, toy.folder) == (named or "")


def random_places(seed: int) -> tuple[Edit, bool]:
    """Scratch tensors somewhere, each used by two steps; whether some overlap while in use."""
    dice = random.Random(seed)
    places = [(128 * dice.randrange(12), 128 * dice.randint(1, 3)) for _ in range(6)]
    lives = [sorted(dice.choices(range(12), k=2)) for _ in places]

    def change(plan: dict[str, Any]) -> None:
        phase = plan["phases"][0]
        x, remember = {**phase["scratch"][0], "size": 1, "shape": [1]}, phase["steps"][1]
        phase["arena_bytes"] = 128 * 15
        phase["scratch"] = [
            {**x, "name": f"t{i}", "offset": offset, "bytes": size}
            for i, (offset, size) in enumerate(places)
        ]
        phase["steps"] = [
            {**remember, "writes": [], "args": [["scratch", i] for i in used] or [["symbols"]]}
            for step in range(12)
            for used in [[i for i, life in enumerate(lives) if step in life]]
        ]

    pairs = itertools.combinations(zip(places, lives, strict=True), 2)
    wrong = any(
        a[0] < b[0] + b[1] and b[0] < a[0] + a[1] and p[0] <= q[1] and q[0] <= p[1]
        for (a, p), (b, q) in pairs
    )
    return change, wrong


@pytest.mark.parametrize("check", [check_by_runner, check_by_host])
def test_every_overlap_is_found(program: Path, toy: Toy, check: Any) -> None:
    found = set()
    for seed in range(60):
        edit, wrong = random_places(seed)
        toy.save_json(edit)
        assert check(program, toy.folder).endswith(".offset") == wrong, seed
        found.add(wrong)
    assert found == {True, False}


MANY = 5000


def many_scratch_tensors(plan: dict[str, Any]) -> None:
    """Each is written by one step and read by the next; three places are used in turn."""
    phase = plan["phases"][0]
    phase["arena_bytes"] = max(phase["arena_bytes"], 5 * 512)
    x, remember = phase["scratch"][0], phase["steps"][1]
    first = len(phase["scratch"])
    for i in range(MANY):
        phase["scratch"].append({**x, "name": f"many.{i}", "offset": 1024 + i % 3 * 512})
        args = [["symbols"], ["scratch", first + i], ["scratch", max(first, first + i - 1)]]
        phase["steps"].insert(1, {**remember, "args": args})  # the last one comes first
    phase["arena_bytes"] = 1024 + 3 * 512


@pytest.mark.parametrize("check", [check_by_runner, check_by_host])
def test_thousands(program: Path, toy: Toy, check: Any) -> None:
    toy.save_json(many_scratch_tensors)
    assert check(program, toy.folder) == ""
    toy.save_json(both(many_scratch_tensors, put("phases.0.scratch.1003.offset", 1024 + 512)))
    assert check(program, toy.folder).startswith("phases[0].scratch[100")
