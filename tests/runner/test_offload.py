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
from offload_cases import sections
from offload_golden import opened, scores_of, step, text

from toolkit.offload.access_trace import entry
from toolkit.offload.governor import Choice, Governor
from toolkit.plan.schema import Select

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


def test_what_was_read_ahead_is_not_read_first(drive: Path) -> None:
    """Also where groups of a prefetch ascend, and the whole of it does not."""
    header = next(part for part in sections("above") if part[0]["table"]["count"] == 65)[0]
    header["table"] |= {"bytes": 8192, "stride": 8192, "offset": 0}
    header["point"] |= {"cluster": 20, "slots": 11, "pinned": 3, "dense": 0}
    machine, rule = opened(header), Select(**header["select"])
    random, lines = np.random.default_rng(4), [{"resize": [11, 3]}]
    expected = [step(machine, rule, header, lines[0])]
    early = 0
    for t in range(12):
        about = {"t": t, "scores": random.integers(-64, 192, 65).tolist()}
        lines += [about | {"prefetch": 14}, about | {"glimpse": 4096}]
        found = machine.prefetch(0, rule, scores_of(about), t, 14)
        assert list(found.records) != sorted(found.records)
        expected.append({"want": found.records.tolist(), "runs": found.runs.spans.tolist()})
        seen = machine.glimpse(0, rule, scores_of(about), 4096)
        done = machine.gather(0, rule, scores_of(about), t, header["tile"], seen, seen.records[::2])
        early += len(done.ahead)
        expected.append(entry(t, 0, done))
    given = "".join(f"{text(line)}\n" for line in (header, *lines))
    told = subprocess.run([drive], input=given, capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stderr) == (0, "") and early > 99
    for here, there in zip(told.stdout.splitlines(), expected, strict=True):
        decided = json.loads(here)
        told_of = there.keys() - {"resize", "seconds"}
        assert {key: decided[key] for key in told_of} == {key: there[key] for key in told_of}


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
