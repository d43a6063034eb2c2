"""ONNX Runtime with a plan's choices: all else is as it is where it chooses itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from flash_networks import made
from needed import here
from onnx import helper
from pass_helpers import SHARED

import toolkit
from toolkit.compiler.budget import fit
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.followed import Followed
from toolkit.evaluation.verify import verify
from toolkit.plan.load import load_plan

IDS = [3, 1, 4, 1, 5, 9, 2]


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles and reads of so small a network take more than it: as if it were a larger one's."""
    monkeypatch.setattr(fit, "dense_bytes", lambda *_: 10**9)


@pytest.mark.slow
def test_a_text_longer_than_a_window_is_scored_in_pieces(tmp_path: Path) -> None:
    path = here(SHARED / "random/mistral/optimum")
    sizes = {"group": 16, "max_context": 128, "prefill_chunk": 16, "memory": "4M"}
    chosen = {"weights": "e0m4", "sparsity": "dip", "density": 0.7}
    done = toolkit.compile(path, tmp_path / "m.plan", **sizes, **chosen)
    assert any(0 < (state.capacity or 0) < 128 for state in done.plan.states)
    report = verify(done.path, on="host")
    assert report["ok"], report


def test_routers_beside_masks_are_noted(tmp_path: Path) -> None:
    """A mixture behind a dense network, which is followed; until it is, masks are computed."""
    path = here(SHARED / "more/decoders/glm4_moe/dynamo/model.onnx")
    sizes = {"max_context": 72, "prefill_chunk": 16, "memory": "98%"}
    chosen = {"weights": "f16", "sparsity": "dip", "density": 0.7}
    done = toolkit.compile(path, tmp_path / "m.plan", **sizes, **chosen)
    plan, source = load_plan(done.path), load_source(path)
    followed, own = Followed.rewritten(source, plan), Reference.rewritten(source, plan)
    assert [router.kind for router in followed.routers] == ["experts"]
    assert [router.kind for router in own.routers] == ["experts", "elements", "elements"]
    for ids in (IDS, [6], [5]):
        np.testing.assert_array_equal(followed.feed(ids), own.feed(ids))
    theirs = [each for each in own.choices if each.mixture == 0]
    assert [each.start for each in followed.choices] == [each.start for each in theirs] == [0, 7, 8]
    for each, other in zip(followed.choices, theirs, strict=True):
        np.testing.assert_array_equal(each.scores, other.scores)
    followed.follow([])
    with pytest.raises(PocketError, match="can't be followed"):
        followed.feed([3])


def test_without_an_original_the_graph_decodes(tmp_path: Path) -> None:
    """ONNX Runtime refuses a domain in a version that it doesn't know; no node is of it."""
    done = made(tmp_path, "swiglu", sparsity="dip", density=0.5, memory="500K")
    model = onnx.load(tmp_path / "model.onnx")
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 99))
    onnx.save(model, tmp_path / "refused.onnx")
    report = verify(done.path, model=tmp_path / "refused.onnx", on="host")
    assert report["original_refused"] and report["original"] == []
    assert report["ok"] and report["greedy_match"], report
    assert sum(case["masks"] for case in report["cases"]) > 2 * report["greedy_tokens"]
