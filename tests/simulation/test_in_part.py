"""Texts through plans whose networks are computed in part: as runs and `eval` of these have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import DEMO
from flash_networks import made
from relu_demo import STORY

import toolkit
from toolkit.compiler.budget import fit
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.perplexity import evaluate
from toolkit.executors.open import open_executor
from toolkit.offload.access_trace import line
from toolkit.offload.machine import Outcome
from toolkit.plan.load import load_plan
from toolkit.simulation.accesses import Access
from toolkit.simulation.in_part import InPart, replayed_in_part
from toolkit.simulation.known import Known
from toolkit.simulation.report import lines
from toolkit.simulation.simulate import simulate

IDS: list[int] = np.random.default_rng(3).integers(0, 40, 70).tolist()  # three windows of 32
Lines = dict[int, dict[tuple[int, int], str]]  # of a case, by step and gather


@pytest.fixture(autouse=True, scope="module")
def large() -> Iterator[None]:
    """Tiles and reads of so small a network take more than it: as if it were a larger one's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "dense_bytes", lambda *_: 10**9)
        yield


def dip(folder: Path, kind: str = "swiglu", **options: Any) -> Path:
    chosen: dict[str, Any] = {"sparsity": "dip", "density": 0.5, "memory": "500K", **options}
    return made(folder, kind, **chosen).path


def told(path: Path, ids: list[int], policies: list[str]) -> tuple[InPart, Lines]:
    """Of cases of these policies, and the lines of their traces."""
    plan, source = load_plan(path), load_source(path.parent / "model.onnx")
    known, found = Known.of(path, plan, None), Lines()
    cases = [known.case(None, policy, "plan") for policy in policies]

    def seen(case: int, access: Access, outcome: Outcome) -> None:
        at = access.step, access.number
        found.setdefault(case, {})[at] = line(*at, outcome)

    return replayed_in_part(known, source, ids, cases, lambda _: None, seen), found


@pytest.mark.parametrize(
    "kind, gamma",
    [("swiglu", None), ("swiglu", 0.1), pytest.param("no gate", 0.2, marks=pytest.mark.slow)],
)
def test_it_finds_what_a_run_finds(tmp_path: Path, kind: str, gamma: float | None) -> None:
    """Line for line; and what eval measures is what it tells."""
    chosen = {} if gamma is None else {"sparsity": "dip-ca", "gamma": gamma}
    path = dip(tmp_path, kind, **chosen)
    policy = load_plan(path).points[-1].policy
    _, by_case = told(path, IDS[:30], [policy])
    executor = open_executor(path, "host", trace=tmp_path / "trace")
    for at, token in enumerate(IDS[:30]):
        executor.step(token, at)
    executor.close()
    run = (tmp_path / "trace").read_text().splitlines()
    assert run == [by_case[0][at] for at in sorted(by_case[0])]
    found, _ = told(path, IDS, [policy])
    np.save(tmp_path / "ids.npy", IDS)
    figures = evaluate(path, tmp_path / "ids.npy", on="host", reference=False)
    assert figures["windows"] == 3
    assert found.perplexities == pytest.approx([figures["perplexity"]], rel=1e-5)
    assert found.whole == pytest.approx(figures["all_neurons_perplexity"], rel=1e-5)
    assert found.perplexities[0] != pytest.approx(found.whole, rel=1e-4)


def test_what_hangs_on_memory_is_told_by_policy(tmp_path: Path) -> None:
    """Without a gamma all policies choose alike, else each as its own cache has it."""
    plain, _ = told(dip(tmp_path), IDS[:40], ["static", "lru", "belady"])
    assert len({*plain.perplexities}) == 1
    misses = [sums.tokens.selected - sums.tokens.hits for sums in plain.found]
    assert misses[2] < min(misses[:2])
    (tmp_path / "ca").mkdir()
    aware, _ = told(dip(tmp_path / "ca", sparsity="dip-ca", gamma=0.1), IDS[:40], ["static", "lru"])
    assert len({*aware.perplexities, *plain.perplexities}) == 3
    assert aware.whole == plain.whole


def test_the_command_tells_perplexities(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"weights": "e0m4", "max_context": 64, "prefill_chunk": 32}
    ways: dict[str, Any] = {"memory": "1.2M", "sparsity": "dip-ca", "density": 0.6, "gamma": 0.2}
    done = toolkit.compile(DEMO, tmp_path / "m.plan", **sizes, **ways)
    text = tmp_path / "text.txt"
    text.write_text(STORY)
    figures = simulate(done.path, text, tokens=40, policy=["static", "lru"])
    few, more = figures["rows"]
    whole = figures["all_neurons_perplexity"]
    assert len({whole, few["perplexity"], more["perplexity"]}) == 3
    printed = [*lines(figures)]
    assert f"{few['perplexity']:.4f}" in printed[2]
    assert any(f"{whole:.4f}" in each for each in printed)
    with pytest.raises(PocketError, match="has no oracle"):
        simulate(done.path, text, selector=["oracle"])
