"""Compiling a model of twice the layers takes twice the work, pass by pass."""

import sys
from collections import Counter
from types import FrameType

import pytest
from tiny_decoder import layered

import onnx_passes


def calls(layers: int) -> Counter[str]:
    """Python calls of every pass (and of the inference after it): unlike time, always the same."""
    counts: Counter[str] = Counter()
    now = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal now
        now += event == "call"

    model = layered(layers)
    passes = onnx_passes.rewrite(model)
    before = sys.getprofile()
    try:
        for run in onnx_passes.PASSES:
            now = 0
            sys.setprofile(count)
            next(passes)
            sys.setprofile(before)
            counts[run.__name__] = now
    finally:
        sys.setprofile(before)
    attentions = [node for node in model.graph if node.op_type == "Attention"]
    assert len(attentions) == layers and not list(passes)
    return counts


@pytest.fixture(scope="module")
def measured() -> tuple[Counter[str], Counter[str]]:
    calls(1)  # what is imported or cached once
    return calls(6), calls(12)


@pytest.mark.parametrize("name", [run.__name__ for run in onnx_passes.PASSES])
def test_work_grows_with_the_layers(name: str, measured: tuple[Counter[str], Counter[str]]) -> None:
    small, large = measured
    assert large[name] < 2.15 * small[name]
