"""Models with many query heads to a K/V head: their plans fit into a phone's local memory."""

import json
from pathlib import Path
from typing import Any

import pytest
from grouped_decoder import write_decoder

import toolkit
from toolkit.errors import PocketError
from toolkit.evaluation.verify import verify
from toolkit.paths import PLAN_FILE
from toolkit.plan.schema import Plan

CONTEXT = 16
HEADS = {"Gemma 2B": (8, 1, 256), "ChatGLM2 6B": (32, 2, 128), "Falcon 7B": (71, 1, 64)}


def compiled(folder: Path, name: str, **options: Any) -> Plan:
    model = write_decoder(folder / "model", *HEADS[name], CONTEXT)
    device = {"device": "adreno", **options}
    return toolkit.compile(model, folder / "x.plan", max_context=CONTEXT, **device).plan


def attention(plan: Plan) -> dict[str, Any]:
    """The variants of each kernel of attention."""
    variants = [v for p in plan.phases for d in p.dispatches() for v in d.variants]
    kernels = {plan.programs[v.program].kernel: v for v in variants}
    return {name: v for name, v in kernels.items() if name.startswith("attention")}


@pytest.mark.parametrize("name", HEADS)
def test_plans_for_phones_fit(tmp_path: Path, name: str) -> None:
    found = attention(compiled(tmp_path, name))
    heads = HEADS[name][0] // HEADS[name][1]  # of a K/V head
    shared = {"attention_decode_half"} if heads > 8 else set()
    shuffled = {"attention_decode_shuffle"} if heads <= 16 else set()
    usual = {"attention_prefill_half", "attention_prefill", "attention_decode"}
    assert set(found) == usual | shared | shuffled
    assert all(0 < variant.local_bytes <= 32768 for variant in found.values())


@pytest.mark.parametrize(
    ("name", "on"),
    [("Gemma 2B", "host"), pytest.param("Falcon 7B", "runner", marks=pytest.mark.slow)],
)
def test_models_with_many_heads_answer_as_onnx_runtime(tmp_path: Path, name: str, on: str) -> None:
    compiled(tmp_path, name)
    figures = verify(tmp_path / "x.plan", on=on)
    assert figures["ok"], figures


def test_a_device_with_too_little_is_refused_by_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "pocketcl").mkdir()
    profile = "devices: {tiny: {class: generic, local_memory: 8000}}\n"
    (tmp_path / "pocketcl/devices.yaml").write_text(profile)
    least = 4 * (2 * 256 + 32 * 33 + 32 * 4 + 32 + 2)  # 2 rows of queries, 32 keys at once
    assert attention(compiled(tmp_path, "Gemma 2B", device="tiny"))["attention_prefill"]
    (tmp_path / "pocketcl/devices.yaml").write_text(profile.replace("8000", str(least - 1)))
    with pytest.raises(PocketError, match="local memory") as raised:
        compiled(tmp_path / "again", "Gemma 2B", device="tiny")
    assert "attention_prefill_half takes " in raised.value.because
    assert f"attention_prefill takes {least} bytes or more" in raised.value.because
    assert f"the device has {least - 1}" in raised.value.because and raised.value.hint
    assert not (tmp_path / "again/x.plan").exists()


def test_a_plan_says_what_its_variants_take(tmp_path: Path) -> None:
    """And nothing where they take nothing, as kernels of CPUs do."""
    plan = compiled(tmp_path, "Gemma 2B", device="pocl")
    body = json.loads((tmp_path / "x.plan" / PLAN_FILE).read_text())
    assert body["profile"]["local_memory"] == plan.profile["local_memory"] == 32768
    for phase in body["phases"]:
        for step in phase["steps"]:
            for variant in step.get("variants", []):
                cpu = "_cpu" in body["programs"][variant["program"]]["source"]
                assert not (cpu and "local_bytes" in variant)
                assert variant.get("local_bytes", 1) > 0
    behind = attention(plan)["attention_prefill"]  # the portable one: 8 rows, 64 keys
    assert behind.local_bytes == 4 * (8 * 256 + 32 * 65 + 64 * 12 + 64 + 8)
