"""What `verify` measures, and what it decides from that."""

import json
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.errors import PocketError
from toolkit.evaluation import judging, verify
from toolkit.evaluation.inputs import source_of
from toolkit.evaluation.near_ties import Choices
from toolkit.plan.schema import Plan, Weight


class FakeScorer:
    """ONNX Runtime's part, played by another copy of the fake model."""

    def __init__(self, executor: Any) -> None:
        self.executor, self.past = executor, 0
        self.choices: list[Choices] = []
        self.notes: list[str] = []

    def reset(self) -> None:
        self.past = 0

    def score(self, ids: list[int]) -> np.ndarray:
        rows = self.executor.score(ids, self.past)
        self.past += len(ids)
        return rows

    feed = score


def compare(plan: Plan, executor: Any, noise: float = 0.0, original: float = 0.0) -> dict[str, Any]:
    scorers = [FakeScorer(type(executor)(plan, noise=n)) for n in (noise, original)]
    return verify.compare(plan, executor, *scorers)


def with_model(plan: Plan, **facts: Any) -> Plan:
    return replace(plan, model={**plan.model, **facts})


def test_equal_answers_are_ok(plan: Plan, executor: Any) -> None:
    result = compare(plan, executor)
    assert result["ok"] and result["greedy_match"] and result["greedy_tokens"] == 32
    names = [case["name"] for case in result["cases"]]
    assert names == [*(f"prefill-{n}" for n in (1, 2, 7, 17, 64, 65)), "score-65", "decode-32"]
    assert names == [case["name"] for case in result["original"]]
    assert all(case["nmse"] == 0 and case["top1_match"] == 1 for case in result["cases"])


def test_the_rewritten_graph_decides(plan: Plan, executor: Any) -> None:
    assert not compare(plan, executor, noise=1e-3)["ok"]
    assert compare(plan, executor, original=1e-3)["ok"]


def test_half_precision_has_its_own_limit(plan: Plan, executor: Any) -> None:
    half = replace(plan, weights=(Weight("w", "f16", "n16", (16, 8), 0, 0, 256),))
    assert compare(half, executor, noise=1e-3)["ok"]
    assert not compare(half, executor, noise=1e-1)["ok"]


@pytest.mark.parametrize("context", [1, 2, 7, 20, 64, 66])
def test_cases_keep_to_the_context(plan: Plan, executor: Any, context: int) -> None:
    small = with_model(plan, max_context=context)
    result = compare(small, type(executor)(small))
    lengths = [int(case["name"].split("-")[1]) for case in result["cases"]]
    assert result["ok"] and max(lengths) <= context


def test_answers_that_are_no_numbers_are_not_ok(plan: Plan, executor: Any) -> None:
    result = compare(plan, type(executor)(plan, noise=np.nan))
    assert not result["ok"]
    assert "NaN" not in json.dumps(result)
    assert any("not numbers" in line for line in verify.lines(result))


def test_measure() -> None:
    ours = np.array([[1.0, 2.0], [3.0, 1.0]], np.float32)
    theirs = np.array([[1.0, 2.5], [3.0, 4.0]], np.float32)
    found = judging.measure(ours, theirs)
    assert found["max_abs_err"] == 3.0
    assert found["nmse"] == pytest.approx((0.25 + 9) / (1 + 6.25 + 9 + 16))
    assert found["top1_match"] == 0.5


def fake_source(monkeypatch: pytest.MonkeyPatch, sha256: str) -> None:
    found = types.SimpleNamespace(sha256=sha256)
    monkeypatch.setattr("toolkit.compiler.source.load_source", lambda path, lora: found)


def test_a_changed_model_is_an_error_unless_named(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.onnx"
    model.touch()
    recorded = with_model(plan, source={"path": str(model), "sha256": "a" * 64})
    fake_source(monkeypatch, "b" * 64)
    with pytest.raises(PocketError, match="has changed"):
        source_of(recorded, None)
    assert source_of(recorded, model).sha256 == "b" * 64
    fake_source(monkeypatch, "a" * 64)
    assert source_of(recorded, None).sha256 == "a" * 64


@pytest.mark.parametrize("base", [True, False])
def test_an_adapter_is_added_to_the_model_that_it_was_added_to(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base: bool
) -> None:
    """Another one that the user names may have it in its weights already."""
    both, alone = "a" * 64, "b" * 64
    found = {None: alone, tmp_path: both if base else "c" * 64}
    monkeypatch.setattr(
        "toolkit.compiler.source.load_source",
        lambda path, lora: types.SimpleNamespace(sha256=found[lora]),
    )
    origin = {"path": str(tmp_path), "sha256": both, "lora": str(tmp_path)}
    recorded = with_model(plan, source=origin)
    assert source_of(recorded, tmp_path).sha256 == (both if base else alone)


def test_a_model_that_is_gone_is_asked_for(plan: Plan) -> None:
    with pytest.raises(PocketError) as error:
        source_of(plan, None)
    assert "--model" in error.value.hint
