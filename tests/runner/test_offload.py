"""The runner's machine replays the golden access traces: equal line for line; and its governor."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from governor_cases import ALL, CASES, MS, Case, lines_of
from native import DRIVERS, SANITIZERS, build, library_sources

from toolkit.offload.governor import Choice, Governor

GOLDEN = Path(__file__).parents[1] / "offload/golden"
INPUTS = ("scores", "ids", "resize")  # keys of a golden line that the machine is given


def deciding() -> list[Path]:
    """The folder that decides and reads, which needs little else of the runner."""
    return [file for file in library_sources() if file.parent.name in ("base", "offload")]


EITHER = [(), pytest.param(SANITIZERS, marks=pytest.mark.slow)]


@pytest.fixture(scope="module", params=EITHER, ids=["plain", "sanitized"])
def drive(request: pytest.FixtureRequest) -> Path:
    sources = [*deciding(), DRIVERS / "offload_drive.cpp"]
    return build("offload_drive", sources, *request.param, "-fvisibility=hidden")


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("*.jsonl")), ids=lambda path: path.stem)
def test_it_decides_as_the_golden_trace_says(drive: Path, golden: Path) -> None:
    text = golden.read_text()
    done = subprocess.run([drive], input=text, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    found, lines = done.stdout.splitlines(), text.splitlines()
    expected = [line for line in lines if '"table":{"name"' not in line]
    assert len(found) == len(expected) > 50
    for there, here in zip(expected, found, strict=True):
        check(there, here)


def check(there: str, here: str) -> None:
    """Seconds are nearly equal; all else is, letter for letter."""
    (expected, seconds), (decided, took) = (line.rsplit(',"seconds":', 1) for line in (there, here))
    inputs = {key: value for key, value in json.loads(there).items() if key in INPUTS}
    given = json.dumps(inputs, separators=(",", ":"))[:-1] + "," * bool(inputs)
    assert expected == given + decided.removeprefix("{")
    assert float(took[:-1]) == pytest.approx(float(seconds[:-1]), rel=1e-9)


@pytest.mark.parametrize("flags", EITHER, ids=["plain", "sanitized"])
def test_the_governor_decides_as_its_twin(flags: tuple[str, ...]) -> None:
    """To the last bit of what it has seen."""
    sources = [*deciding(), DRIVERS / "governor_drive.cpp"]
    program = build("governor_drive", sources, *flags, "-fvisibility=hidden")
    random = np.random.default_rng(3)
    noise = [
        (1, int(random.integers(0, 9)), *(MS * random.random(2)).tolist(), int(each), {})
        for each in random.integers(1, 9999, 300)
    ]
    for case in (*CASES.values(), (ALL, 5000, tuple(noise))):
        text = "\n".join(lines_of(case)) + "\n"
        done = subprocess.run([program], input=text, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == list(twin(case))


def twin(case: Case) -> Iterator[str]:
    speeds, budget, steps = case
    governor = Governor(speeds, Choice(budget, 1.0))
    for count, tokens, predicted, seconds, room, _ in steps:
        for _ in range(count):
            choice = governor.decide(room) if governor.observe(tokens, predicted, seconds) else None
            told = "-" if choice is None or choice.budget is None else str(choice.budget)
            went = "" if choice is None else f"{told} {choice.flash:.17g} "
            yield f"{went}{governor.slowness:.17g}"
