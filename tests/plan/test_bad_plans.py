"""One table of edits, both loaders: what one refuses the other refuses, for the same key."""

from __future__ import annotations

from pathlib import Path

import pytest
from bad_plans import BAD_PLANS, GOOD_PLANS
from both_loaders import both_refuse, both_take, runner_says, words_of
from edits import put
from plan_edits import PlanEdit
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


@pytest.mark.parametrize("edit", BAD_PLANS, ids=str)
def test_both_loaders_refuse_it(program: Path, toy: Toy, edit: PlanEdit) -> None:
    both_refuse(program, toy, edit)


@pytest.mark.parametrize("edit", GOOD_PLANS, ids=str)
def test_both_loaders_take_it(program: Path, toy: Toy, edit: PlanEdit) -> None:
    both_take(program, toy, edit)


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
    assert words_of(program, toy, key) == sorted(words)


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
