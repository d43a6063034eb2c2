"""Every f32 and f16 export of a Llama-family decoder, run and held against ONNX Runtime."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from exports import EXPORTS, FAMILIES, Plans, folder_of
from needed import here

import toolkit
from toolkit.bench.kv_copies import kv_copy_bytes
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source
from toolkit.evaluation.inputs import random_ids
from toolkit.evaluation.verify import (
    Case,
    greedy_ids,
    greedy_plan,
    measure,
    prompt_of,
    run_plan,
    run_reference,
)
from toolkit.executors.open import open_executor
from toolkit.plan.schema import Plan

LIMIT = {"f32": 1e-8, "f16": 1e-4}  # NMSE of logits against the original model
STEPS = 32


# The quick test runs an exporter's way once for a family of models, and each way for some family.
QUICK = {
    *(("demo", "optimum"), ("random/llama", "dynamo"), ("random/qwen2", "genai-fp32")),
    *(("random/mistral", "optimum"), ("random/mistral", "dynamo23")),
    *(
        ("real/stories260K-onnx", "dynamo-op24"),
        ("real/stories260K-hd16-onnx", "genai-fp16-webgpu"),
    ),
    *(("real/stories260K-hd16-onnx", "genai-fp32-cpu-unfused"),),
    *(("real/trained-llama_relu-onnx", "optimum"),),
}


def each_export(quick: Collection[tuple[str, str]] = EXPORTS) -> pytest.MarkDecorator:
    marked = [
        pytest.param(*each, marks=() if each in quick else (pytest.mark.slow,)) for each in EXPORTS
    ]
    return pytest.mark.parametrize(("family", "spelling"), marked)


def storage(plan: Plan) -> str:
    return "f16" if any(w.dtype == "f16" for w in plan.weights) else "f32"


@each_export(QUICK)
def test_logits_equal_the_original_model(plans: Plans, family: str, spelling: str) -> None:
    report = plans(family, spelling)
    plan, source = report.plan, load_source(Path(report.plan.model["source"]["path"]))
    original, executor = Reference.original(source), open_executor(report.path, "runner")
    try:
        for count in (1, 2, 7, 64, 65):
            case = Case(f"prefill-{count}", random_ids(plan, count), [])
            compare(plan, run_plan(executor, case), run_reference(original, case), case.name)
        greedy = greedy_ids(original, prompt_of(plan), STEPS, plan)
        case = Case("decode", prompt_of(plan), greedy)
        compare(plan, run_plan(executor, case), run_reference(original, case), case.name)
        if storage(plan) == "f32":
            assert greedy_plan(executor, prompt_of(plan), STEPS) == greedy
    finally:
        executor.close()


def compare(plan: Plan, ours: np.ndarray, reference: np.ndarray, name: str) -> None:
    """NMSE below the limit; the same top-1 wherever the reference is sure enough of its own."""
    figures = measure(ours, reference)
    assert figures["nmse"] < LIMIT[storage(plan)], f"{name}: {figures}"
    second, first = np.sort(reference, axis=-1)[:, -2:].T
    sure = first - second > (4 * figures["max_abs_err"] if storage(plan) == "f16" else 0)
    assert (ours.argmax(-1) == reference.argmax(-1))[sure].all(), f"{name}: {figures}"
    assert sure.any()


@each_export(QUICK)
def test_host_and_runner_agree_token_for_token(plans: Plans, family: str, spelling: str) -> None:
    report = plans(family, spelling)
    prompt = prompt_of(report.plan)
    ids = []
    for on in ("runner", "host"):
        executor = open_executor(report.path, on)
        ids.append(greedy_plan(executor, prompt, 40))
        executor.close()
    assert ids[0] == ids[1]


@each_export()
def test_the_plan_is_tight(plans: Plans, family: str, spelling: str) -> None:
    report = plans(family, spelling)
    plan, figures = report.plan, report.as_json()
    layers = int(plan.model["layers"])
    assert figures["unresolved_dims"] == 0
    assert figures["dispatches"]["decode"] <= 9 * layers + 4  # embedding, norm, head, next id
    for phase in plan.phases:
        assert kv_copy_bytes(plan, phase) == 0
        assert phase.arena_bytes == phase.lower_bound_bytes
        assert phase.bounds["seq"][1] == 1 or phase.arena_bytes > 0


def test_scaled_branches_take_no_room(plans: Plans) -> None:
    """Granite multiplies what it adds to the residual, so that four tensors meet at each sum."""
    for phase in plans("more/decoders/granite4", "granite4_attn-genai-int4").plan.phases:
        assert phase.arena_bytes == phase.lower_bound_bytes


@pytest.mark.parametrize("family", FAMILIES)
def test_exporters_agree_on_the_number_of_dispatches(plans: Plans, family: str) -> None:
    counts = [plans(family, s).as_json()["dispatches"] for s in FAMILIES[family]]
    for count in counts[1:]:
        for phase, number in count.items():
            assert abs(number - counts[0][phase]) <= 0.1 * counts[0][phase]


def test_a_window_longer_than_its_ring_is_left_behind(plans: Plans, tmp_path: Path) -> None:
    """Mistral's window of 8 tokens in a ring of 8 + chunk slots, far past its first turn."""
    source = here(folder_of("random/mistral", "optimum"))
    report = toolkit.compile(source, tmp_path / "ring.plan", prefill_chunk=5)
    states = [b for b in report.plan.buffers if b.kind == "state"]
    assert {b.shape[2] for b in states} == {13}
    original, executor = (
        Reference.original(load_source(source)),
        open_executor(report.path, "runner"),
    )
    case = Case("ring", random_ids(report.plan, 61), random_ids(report.plan, 40))
    compare(report.plan, run_plan(executor, case), run_reference(original, case), "ring")
    rewritten = Reference.rewritten(load_source(source), report.plan)  # it has such rings, too
    whole = Case("whole", case.prompt, [], all_rows=True)
    compare(report.plan, run_reference(rewritten, whole), run_reference(original, whole), "rings")
    executor.close()
