"""Models compiled for each class of GPUs compute what they should on what runs here.

On PoCL, which has no halves and no sub-groups, the variants that need neither run; on Intel's
runtime (tests/kernels/intel_runtime.py) those that phones run.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import COLLECTION, DEMO

import toolkit
from toolkit.evaluation.verify import verify

pytestmark = pytest.mark.slow
RANDOM = sorted((COLLECTION / "random").glob("*/optimum")) if COLLECTION.exists() else []
MODELS = [DEMO, *RANDOM]


def name_of(model: Path) -> str:
    return model.name if model == DEMO else model.parent.name


@pytest.mark.parametrize("weights", ["source", "e0m4"])
@pytest.mark.parametrize("device", ["adreno", "mali", "generic"])
@pytest.mark.parametrize("model", MODELS, ids=name_of)
def test_it_computes_its_model(model: Path, device: str, weights: str, tmp_path: Path) -> None:
    sizes = {"max_context": 96, "prefill_chunk": 64}
    done = toolkit.compile(model, tmp_path / "m.plan", device=device, weights=weights, **sizes)
    for on in ("host", "runner"):
        report = verify(done.path, on=on)
        assert report["ok"], (on, [case for case in report["cases"] if not case["ok"]])
