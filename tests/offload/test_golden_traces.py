"""The machine decides what the golden traces say; the runner replays the same files.

A change of what the machine means: pytest tests/offload --update-golden, and say so.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from offload_cases import SELECTS, sections
from offload_golden import Line, opened, replay, step, text

from toolkit.offload.policies import POLICIES
from toolkit.plan.schema import Select

GOLDEN = Path(__file__).with_name("golden")


def made(by: str) -> list[Line]:
    """A selector's file anew."""
    lines: list[Line] = []
    for header, *inputs in sections(by):
        machine, rule = opened(header), Select(**header["select"])
        lines += [header, *(step(machine, rule, header, line) for line in inputs)]
    return lines


def read(by: str) -> list[Line]:
    return [json.loads(line) for line in (GOLDEN / f"{by}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("by", SELECTS)
def test_the_machine_decides_as_before(by: str, update_golden: bool) -> None:
    if update_golden:
        (GOLDEN / f"{by}.jsonl").write_text("".join(f"{text(line)}\n" for line in made(by)))
    count = 0
    for expected, found in replay(read(by)):
        seconds = pytest.approx(expected["seconds"], rel=1e-9)
        assert found == expected | {"seconds": seconds}, f"{by}: {text(found)[:200]}"
        count += 1
    assert count > 50


def test_every_selector_and_policy_size_and_budget_is_there() -> None:
    headers = [line for by in SELECTS for line in read(by) if "table" in line]
    pairs = {(line["select"]["by"], line["point"]["policy"]) for line in headers}
    assert pairs == {(by, policy.name) for by in SELECTS for policy in POLICIES}
    assert {line["table"]["count"] for line in headers} == {1, 7, 63, 65, 1000}
    shares = {line["point"]["slots"] / line["table"]["count"] for line in headers}
    assert {0, 1} < shares
    assert {bool(line["tile"]) for line in headers} == {False, True}


def test_the_files_are_small() -> None:
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) < 300_000
