"""What a plan notes of its model and its compile is read like any file that people may edit."""

from dataclasses import replace
from typing import Any

import pytest

from toolkit.compiler.options import Options, options_of
from toolkit.errors import PocketError
from toolkit.plan.origin import Origin, noted, origin_of
from toolkit.plan.schema import Plan

OPTIONS = {"context": 64, "chunk": 8, "weights": "e0m4", "activations": "f32", "kv": "f16"}
OPTIONS |= {"batch": 1, "group": 32, "symmetric": False, "keep": ["lm_head=f16"]}
SOURCE = {"path": "/models/m.onnx", "sha256": "ab12"}


def with_model(plan: Plan, **facts: Any) -> Plan:
    return replace(plan, model={**plan.model, **facts})


def test_what_the_compiler_wrote(plan: Plan) -> None:
    plan = with_model(plan, options=OPTIONS, source=SOURCE)
    assert options_of(plan) == Options(**{**OPTIONS, "keep": ("lm_head=f16",)})
    assert options_of(with_model(plan, options=vars(options_of(plan)))) == options_of(plan)
    assert origin_of(plan) == Origin(**SOURCE) and noted(plan, "path") == SOURCE["path"]


@pytest.mark.parametrize(
    "edit",
    [
        *({key: value} for key in OPTIONS for value in (None, [1], {}, "?", -1)),
        *({"group": 17}, {"context": 0}, {"context": 2**70}, {"keep": ["x=f8"]}, {"batch": 1.5}),
    ],
    ids=str,
)
def test_edited_options_are_refused_with_a_reason(plan: Plan, edit: dict[str, Any]) -> None:
    with pytest.raises(PocketError, match="the plan doesn't say its options") as refused:
        options_of(with_model(plan, options={**OPTIONS, **edit}))
    assert refused.value.because and "compile" in refused.value.hint


@pytest.mark.parametrize("options", [None, [], 7, "f32", {}])
def test_options_that_are_no_options(plan: Plan, options: Any) -> None:
    with pytest.raises(PocketError, match="the plan doesn't say its options"):
        options_of(with_model(plan, options=options))


@pytest.mark.parametrize("source", [None, [], 7, {}, {"path": 3}, {"path": "m.onnx"}])
def test_a_source_that_is_none(plan: Plan, source: Any) -> None:
    with pytest.raises(PocketError, match="the plan doesn't say its model"):
        origin_of(with_model(plan, source=source))
    assert noted(with_model(plan, source=source), "sha256") == ""
