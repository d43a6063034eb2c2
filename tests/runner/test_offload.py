"""The runner's machine replays the golden access traces: equal line for line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from native import DRIVERS, SANITIZERS, build, library_sources

GOLDEN = Path(__file__).parents[1] / "offload/golden"
INPUTS = ("scores", "ids", "resize")  # keys of a golden line that the machine is given


@pytest.fixture(scope="module")
def drive() -> Path:
    return offload_program("offload_drive", *SANITIZERS, "-fvisibility=hidden")


def offload_program(driver: str, *flags: str) -> Path:
    """A driver of the folder that decides and reads, which needs little else of the runner."""
    parts = [file for file in library_sources() if file.parent.name in ("base", "offload")]
    return build(driver, [*parts, DRIVERS / f"{driver}.cpp"], *flags)


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
