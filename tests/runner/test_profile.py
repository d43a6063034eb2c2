"""Kernel times: what the runner says about each dispatch when it was started with --profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from talk import Start
from toy import CHUNK, Toy

TIMES = ("queued", "submitted", "started", "ended")


@pytest.fixture
def talk(toy: Toy, start: Start) -> Any:
    return start(toy.folder, "--profile")


def profiled(talk: Any, file: Path, command: str) -> list[dict[str, Any]]:
    assert talk.ask("profile") == "ok"
    if command.startswith("decode"):
        talk.decode(command)
    else:
        talk.next(command)
    assert talk.ask(f"profile {file}") == "ok"
    entries: list[dict[str, Any]] = json.loads(file.read_text())
    return entries


def test_every_dispatch_of_every_chunk(talk: Any, tmp_path: Path) -> None:
    ids = " ".join(["1"] * (2 * CHUNK + 1))
    entries = profiled(talk, tmp_path / "p.json", f"prefill 0 {ids}")
    assert {entry["run"] for entry in entries} == {0, 1, 2}
    phases = {entry["run"]: entry["phase"] for entry in entries}
    assert phases == {0: "prefill", 1: "prefill", 2: "decode"}  # the last piece is one token
    names = [[e["name"] for e in entries if e["run"] == run] for run in range(3)]
    assert names[0] == names[1] == names[2]
    assert all(entry["kernel"] for entry in entries)


def test_times_are_in_order(talk: Any, tmp_path: Path) -> None:
    entries = profiled(talk, tmp_path / "p.json", "decode 0 1 4")
    assert {entry["run"] for entry in entries} == {0, 1, 2, 3}
    for entry in entries:
        assert sorted(entry[key] for key in TIMES) == [entry[key] for key in TIMES]
    ends = [entry["ended"] for entry in entries]
    assert ends == sorted(ends)


def test_a_profile_changes_no_answer(talk: Any, tmp_path: Path) -> None:
    plain = talk.next("prefill 0 3 1 4")
    assert talk.ask("profile") == "ok"
    assert talk.next("prefill 0 3 1 4") == plain
    assert talk.ask(f"profile {tmp_path / 'p.json'}") == "ok"


def test_what_cannot_be_profiled(toy: Toy, talk: Any, start: Start, tmp_path: Path) -> None:
    assert "no profile" in talk.error(f"profile {tmp_path / 'p.json'}")["what"]
    assert talk.ask("profile") == "ok"
    assert "can't be written" in talk.error("profile /nowhere/p.json")["what"]
    assert "--profile" in start(toy.folder).error("profile")["because"]
