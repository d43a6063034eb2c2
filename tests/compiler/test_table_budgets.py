"""Plans with networks in flash take their budget; what none holds is refused with the sum."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from flash_networks import F, made

from toolkit.errors import PocketError


def test_a_plan_takes_its_budget_and_no_more(tmp_path: Path) -> None:
    plan = (done := made(tmp_path, "swiglu")).plan
    (table,), (point,) = plan.tables, plan.points
    figures = done.figures
    assert 0 < point.slots[0] < F and figures["slot_bytes"] == point.slots[0] * table.bytes
    assert sum(figures["resident"].values()) == figures["resident_bytes"]
    assert point.memory == figures["resident_bytes"] + figures["slot_bytes"]
    assert figures["budget_bytes"] - table.bytes < point.memory <= figures["budget_bytes"]
    assert figures["flash_bytes"] == F * table.stride
    json.dumps(done.as_json())


@pytest.mark.parametrize("memory", ["100%", "1G"])
def test_a_budget_for_everything_gives_the_plan_without_one(tmp_path: Path, memory: str) -> None:
    (tmp_path / "dense").mkdir()
    dense = made(tmp_path / "dense", "swiglu", memory=None)
    found = made(tmp_path, "swiglu", memory=memory)
    names = sorted(p.relative_to(dense.path) for p in dense.path.rglob("*") if p.is_file())
    for name in names:
        ours, theirs = ((each.path / name).read_bytes() for each in (found, dense))
        paths = (str(tmp_path).encode(), str(tmp_path / "dense").encode())
        if name.name != "plan.json":
            assert ours == theirs
        else:  # they say where the model lies
            assert _without_source(ours) == _without_source(theirs), paths
    assert found.figures["resident_bytes"] <= found.figures["budget_bytes"]


def _without_source(text: bytes) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(text)
    del body["digest"], body["model"]["source"]
    return body


def test_a_budget_too_small_is_refused_with_the_sum(tmp_path: Path) -> None:
    with pytest.raises(PocketError) as caught:
        made(tmp_path, "swiglu", memory="20K")
    error = caught.value
    assert "20.0 kB is less than this model needs with its FFNs in flash" in error.what
    for part in ("attention", "embedding and head", "keys and values", "scratch", "staging"):
        assert part in error.because
    assert error.hint.startswith("--memory ") and "--max-context" not in error.hint
    made(tmp_path, "swiglu", memory=error.hint.split()[1].rstrip(","))  # and that fits


@pytest.mark.parametrize("memory", ["80%", "260K"])
def test_a_shorter_context_that_is_advised_fits(tmp_path: Path, memory: str) -> None:
    """Also where the budget is a share, which shrinks with the context."""
    with pytest.raises(PocketError) as caught:
        made(tmp_path, "swiglu", memory=memory, max_context=1024)
    context = re.search(r"--max-context (\d+)", caught.value.hint)
    assert context
    made(tmp_path, "swiglu", memory=memory, max_context=int(context[1]))


@pytest.mark.parametrize("memory", ["", "much", "0", "-1G", "3T", "%", "1e9", "9" * 400])
def test_what_is_no_size(tmp_path: Path, memory: str) -> None:
    with pytest.raises(PocketError, match="is no size"):
        made(tmp_path, "swiglu", memory=memory)


def test_floats_of_32_bits_have_no_records(tmp_path: Path) -> None:
    with pytest.raises(PocketError, match="none of it can be in flash") as caught:
        made(tmp_path, "swiglu", weights="source", memory="60%")
    assert "codes of 4 bits" in caught.value.because and "--weights e0m4" in caught.value.hint
