"""How many dispatches a token takes in decoders of other families than Llama's."""

from pathlib import Path

import pytest
from exports import COLLECTION, DISPATCHES
from needed import here

import toolkit

AROUND = 4  # the embedding and what scales it, the logits, the choice of a token


@pytest.mark.parametrize("name", DISPATCHES)
def test_dispatches_of_a_layer(name: str, tmp_path: Path) -> None:
    source = here(COLLECTION / "more/decoders" / name)
    report = toolkit.compile(source, tmp_path / "x.plan", device="pocl", max_context=64)
    count, layers = report.figures["dispatches"]["decode"], int(report.plan.model["layers"])
    most = DISPATCHES[name]
    each = most if isinstance(most, tuple) else (most,) * layers
    assert len(each) == layers and count <= AROUND + sum(each)
