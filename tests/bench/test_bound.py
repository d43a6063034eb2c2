"""ONNX Runtime with bound inputs answers as it does without."""

from pathlib import Path

import numpy as np

from toolkit.bench.bound import Bound
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"


def test_bound_runs_equal_others() -> None:
    """Over a prompt, a chunk, single tokens, and again from an empty cache."""
    ids = np.random.default_rng().integers(0, 1000, 24).tolist()
    bound, plain = (kind.original(load_source(DEMO)) for kind in (Bound, Reference))
    for chunk in (ids[:13], ids[13:20], *([token] for token in ids[20:])):
        np.testing.assert_array_equal(bound.feed(chunk), plain.feed(chunk))
    bound.reset(), plain.reset()
    np.testing.assert_array_equal(bound.feed(ids), plain.feed(ids))
