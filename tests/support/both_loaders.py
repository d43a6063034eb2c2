"""A plan in front of both loaders: Python's, and the runner's without OpenCL (`--check`)."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from edits import put
from plan_edits import PlanEdit
from talk import failure
from toy import Toy

from toolkit.errors import PocketError
from toolkit.plan.load import load_plan


def runner_says(program: Path, folder: Path) -> tuple[int, str]:
    """Exit code and the one answer of the runner's loader."""
    done = subprocess.run([program, "--check", folder], capture_output=True, timeout=120)
    [line] = done.stdout.decode().splitlines()
    return done.returncode, line


def both_refuse(program: Path, toy: Toy, edit: PlanEdit) -> None:
    """For the same key, with a reason and a hint."""
    toy.save_json(put(edit.key, edit.value))
    with pytest.raises(PocketError) as caught:
        load_plan(toy.folder, note=lambda line: None)
    here = re.fullmatch(r".*plan\.json is damaged at (.*)", caught.value.what)
    assert here and here[1].startswith(edit.path) and caught.value.because and caught.value.hint

    code, line = runner_says(program, toy.folder)
    facts = failure(line)
    there = re.fullmatch(r"plan\.json is not a valid plan: (.*)", facts["what"])
    assert there and there[1].startswith(edit.path) and facts["because"] and facts["hint"]
    assert code == 1


def both_take(program: Path, toy: Toy, edit: PlanEdit) -> None:
    """The plan with its three phases."""
    toy.save_json(put(edit.key, edit.value))
    load_plan(toy.folder, note=lambda line: None)
    assert runner_says(program, toy.folder) == (0, "ok 3 phases")


def words_of(program: Path, toy: Toy, key: str) -> list[str]:
    """Those that the runner's loader knows for a key."""
    toy.save_json(put(key, "no such word"))
    because = failure(runner_says(program, toy.folder)[1])["because"]
    listed: str = because.partition(" is none of ")[2]
    return listed.split(", ")
