"""Plans for GPUs choose ids in three launches: the same ids as plans for processors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import toolkit
from toolkit.executors.sampling import Sampling
from toolkit.generation.session import Session
from toolkit.plan.load import load_plan

TEXT = [260, 363, 13, 376]
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"temperature": 3.0, "seed": 3},
    {"temperature": 2.5, "top_k": 40, "top_p": 0.9, "seed": 4},
    {"temperature": 2.0, "min_p": 0.05, "repetition_penalty": 1.3, "window": 8, "seed": 5},
)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("plans")
    source = Path(toolkit.__file__).parent / "demo_model"
    found = {}
    for device in ("pocl", "generic"):
        found[device] = folder / f"{device}.plan"
        floats = {"activations": "f32", "kv": "f32"}
        toolkit.compile(source, found[device], device=device, weights="f32", **floats)
    return found


def written(plan: Path, on: str) -> list[list[int]]:
    with Session(plan, on) as session:
        texts = []
        for options in OPTIONS:
            session.reset()
            texts.append(list(session.generate(TEXT, 10, sampling=Sampling(**options))))
        return texts


@pytest.mark.slow
def test_the_same_ids_on_both(plans: dict[str, Path]) -> None:
    expected = written(plans["pocl"], "host")
    assert len({tuple(text) for text in expected}) == len(OPTIONS)
    assert written(plans["generic"], "host") == expected
    assert written(plans["generic"], "runner") == expected


def test_a_plan_has_one_launch_or_three(plans: dict[str, Path]) -> None:
    for device, launches in (("pocl", 1), ("generic", 3)):
        plan = load_plan(plans[device], note=lambda _: None)
        for phase in plan.phases[:2]:
            names = [s.name for s in phase.dispatches() if s.name.startswith("next id")]
            assert len(names) == launches
