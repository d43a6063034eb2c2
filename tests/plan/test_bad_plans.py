"""One table of edits, both loaders: what one refuses the other refuses, for the same key."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from bad_plans import BAD_PLANS, GOOD_PLANS
from edits import put
from plan_edits import PlanEdit
from talk import failure
from toy import Toy

from toolkit.errors import PocketError
from toolkit.plan.load import load_plan
from toolkit.plan.schema import (
    BUILD_OPTIONS,
    DTYPE_BYTES,
    FEATURES,
    HOST_OPS,
    STATE_LAYOUTS,
    UPDATES,
)


def runner_says(program: Path, folder: Path) -> tuple[int, str]:
    """Exit code and the one answer of the runner's loader."""
    done = subprocess.run([program, "--check", folder], capture_output=True, timeout=120)
    [line] = done.stdout.decode().splitlines()
    return done.returncode, line


@pytest.mark.parametrize("edit", BAD_PLANS, ids=str)
def test_both_loaders_refuse_it(program: Path, toy: Toy, edit: PlanEdit) -> None:
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


@pytest.mark.parametrize("edit", GOOD_PLANS, ids=str)
def test_both_loaders_take_it(program: Path, toy: Toy, edit: PlanEdit) -> None:
    toy.save_json(put(edit.key, edit.value))
    load_plan(toy.folder, note=lambda line: None)
    assert runner_says(program, toy.folder) == (0, "ok 3 phases")


@pytest.mark.parametrize(
    "key, words",
    [
        ("buffers.0.dtype", DTYPE_BYTES),
        ("phases.0.steps.0.variants.0.requires.0", FEATURES),
        ("programs.0.options.0", BUILD_OPTIONS),
        ("states.0.update", UPDATES),
        ("states.0.layout", STATE_LAYOUTS),
        ("phases.0.steps.5.op", HOST_OPS),
    ],
    ids=["element types", "features", "build options", "updates", "state layouts", "built-ins"],
)
def test_both_loaders_know_the_same_words(
    program: Path, toy: Toy, key: str, words: tuple[str, ...]
) -> None:
    toy.plan["programs"][0] = {**toy.plan["programs"][0], "options": []}
    toy.save_json(put(key, "no such word"))
    because = failure(runner_says(program, toy.folder)[1])["because"]
    listed = because.partition(" is none of ")[2]
    assert listed.split(", ") == sorted(words)


@pytest.mark.parametrize("dtype", DTYPE_BYTES)
def test_both_loaders_give_an_element_the_same_size(program: Path, toy: Toy, dtype: str) -> None:
    size = 7 * DTYPE_BYTES[dtype]
    for nbytes, fits in ((size, True), (size - 1, False)):
        output = {"name": "s", "kind": "output", "dtype": dtype, "shape": [7], "bytes": nbytes}
        toy.save_json(put("buffers.4", output))
        code, _ = runner_says(program, toy.folder)
        assert (code == 0) is fits
        if fits:
            load_plan(toy.folder, note=lambda line: None)
        else:
            with pytest.raises(PocketError, match="too few"):
                load_plan(toy.folder, note=lambda line: None)
