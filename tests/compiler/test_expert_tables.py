"""Plans whose experts lie in flash: a token reads those that its router chooses, and no other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from expert_toys import E, F, K, compiled_toy
from pass_helpers import text

from onnx_passes.analysis.experts.networks import find_expert_networks
from onnx_passes.ir.infer import infer
from opencl_kernels.formats import interleave_gate_up, pack_n16
from toolkit.compiler.budget.planned import unchosen, uses_by_ids
from toolkit.compiler.budget.point import shared
from toolkit.compiler.budget.sparsity import OF_EXPERTS, SPARSITIES, check_experts, selectors_of
from toolkit.compiler.budget.told import budget_lines
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.report import CompileReport
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.evaluation.verify import verify
from toolkit.executors.batch.open import open_batch
from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.offload.legality import verdict
from toolkit.offload.points import by_ids, by_routers

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
RECORD = 4 * 3 * F * 32  # bytes of an expert of floats: gates, ups and downs


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> CompileReport:
    return compiled_toy(tmp_path_factory.mktemp("mixtral"), "mixtral", memory="90%")


def talked(report: CompileReport, of: Any, trace: Path, **options: Any) -> tuple[list[int], Any]:
    """Ids, and what has been read."""
    executor = of(report.path, trace=trace, **options)
    first = executor.prefill(IDS, 0)
    ids = [first, *executor.decode(first, len(IDS), 12, ())]
    told = executor.stats()["tables"]
    executor.close()
    return ids, told


def gathered(trace: Path) -> Iterator[dict[str, Any]]:
    """Lines of the experts' gathers."""
    yield from map(json.loads, trace.read_text().splitlines())


def test_a_gather_of_each_phase_has_both_products(mixtral: CompileReport) -> None:
    plan, (table,) = mixtral.plan, mixtral.plan.tables
    facts = table.kind, table.count, table.bytes, [part.name for part in table.parts]
    assert facts == ("expert", E, RECORD, ["up", "down"])
    asked = {phase.name: phase.gathers() for phase in plan.phases}
    assert {name: [g.select.k for g in gathers] for name, gathers in asked.items()} == {
        "decode": [K],
        "prefill": [8 * K],
        "score": [8 * K],
    }
    for (gather,) in asked.values():
        assert gather.select.by == "ids" and len(gather.dispatches) == 2 and gather.tile == 1
    assert plan.points[-1].policy == "lfu" and 0 < plan.points[-1].slots[0] < E
    assert not any("ups" in weight.name or "downs" in weight.name for weight in plan.weights)
    assert mixtral.figures["expert_bytes"] == E * table.stride
    assert mixtral.figures["selector"] == "ids"
    assert any("experts on flash" in line for line in budget_lines(mixtral.figures))


def test_a_record_has_the_matrices_of_an_expert(mixtral: CompileReport) -> None:
    found = ir.load(mixtral.path.parent / "model.onnx").graph.initializers
    ups, downs = (found[name].const_value for name in ("ups", "downs"))
    assert ups is not None and downs is not None
    (table,) = mixtral.plan.tables
    file = mixtral.path / mixtral.plan.files[table.file].path
    raw = np.fromfile(file, np.float32).reshape(E, -1)[:, : RECORD // 4]
    for e, record in enumerate(raw):
        gate, up = np.split(ups.numpy()[e], 2)
        expected = [pack_n16(interleave_gate_up(gate, up)), pack_n16(downs.numpy()[e])]
        np.testing.assert_array_equal(record, np.concatenate([a.reshape(-1) for a in expected]))


def test_only_chosen_experts_are_read(mixtral: CompileReport, tmp_path: Path) -> None:
    """By both executors the same; with no slot as many as are chosen, of all that there are."""
    kinds = {"host": HostExecutor, "runner": RunnerExecutor}
    little = mixtral.figures["resident_bytes"]
    ids = dict[str, list[int]]()
    for name, of in kinds.items():
        ids[name], told = talked(mixtral, of, tmp_path / name, memory=little)
        lines = list(gathered(tmp_path / name))
        assert [len(line["sel"]) for line in lines[2:]] == [K] * (len(lines) - 2)
        assert [len(line["sel"]) <= E for line in lines[:2]] == [True, True]
        chosen = sum(len(line["sel"]) for line in lines)
        assert told["selected"] == chosen and told["hits"] == 0
        assert told["used_bytes"] == told["read_bytes"] == chosen * RECORD
    assert ids["host"] == ids["runner"]
    assert (tmp_path / "host").read_text() == (tmp_path / "runner").read_text()
    warm, told = talked(mixtral, HostExecutor, tmp_path / "warm")
    assert warm == ids["host"] and told["hits"] > 0
    assert told["read_bytes"] == (told["selected"] - told["hits"]) * RECORD


def test_a_planner_takes_experts_for_equally_likely(mixtral: CompileReport) -> None:
    assert by_routers(mixtral.plan) == {0: K} and not by_ids(mixtral.plan)
    np.testing.assert_array_equal(uses_by_ids(mixtral.plan)[0].frequency, np.full(E, K / E))
    (demand,) = unchosen(mixtral.plan)
    assert demand.needed == K and not demand.scored


def test_what_is_left_over_is_a_whole_expert(mixtral: CompileReport) -> None:
    """A share of the room would be none of each."""
    two = replace(mixtral.plan, tables=mixtral.plan.tables * 2)
    assert [shared(two, n * RECORD)[0] for n in (0, 1, 2, 9)] == [0, 1, 1, 5]
    assert shared(mixtral.plan, RECORD * (E + 1)) == (E,)


def test_answers_are_onnx_runtimes(mixtral: CompileReport) -> None:
    report = verify(mixtral.path, on="host")
    assert report["ok"] and all(case["nmse"] < 1e-9 for case in report["cases"]), report


@pytest.mark.slow
@pytest.mark.parametrize("on", ["host", "runner"])
@pytest.mark.parametrize(
    "name, weights", [("qwen2_moe", "f32"), ("qwen2_moe", "e0m4"), ("qwen2_moe, apart", "f32")]
)
def test_shared_experts(name: str, weights: str, on: str, tmp_path: Path) -> None:
    """Two more of the same that every token takes, or a network of its own."""
    report = compiled_toy(tmp_path, name, memory="99%", weights=weights)
    (table,) = (table for table in report.plan.tables if table.kind == "expert")
    joined = "apart" not in name
    assert table.count == E + 2 * joined
    number = report.plan.tables.index(table)
    (decode,) = (phase for phase in report.plan.phases if phase.name == "decode")
    (gather,) = (each for each in decode.gathers() if each.table == number)
    assert gather.select.k == K + 2 * joined
    assert verify(report.path, on=on)["ok"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"device": "generic", "weights": "f32"}, {"device": "adreno"}])
def test_gpus(options: dict[str, Any], tmp_path: Path) -> None:
    """Their plans test the kernels, too."""
    report = compiled_toy(tmp_path, "qwen2_moe", memory="95%", **options)
    tested = {report.plan.programs[v.program].kernel for v in _tested(report)}
    assert "experts" in tested and verify(report.path, on="runner")["ok"]


def _tested(report: CompileReport) -> Iterator[Any]:
    for test in report.plan.tests:
        step = report.plan.phases[test.phase].steps[test.step]
        inside = 0 if test.inside is None else test.inside.dispatch
        yield from getattr(step, "dispatches", (step,))[inside].variants


@pytest.mark.slow
def test_several_texts_choose_for_themselves(tmp_path: Path) -> None:
    report = compiled_toy(tmp_path, "mixtral", memory="95%", batch=2)
    (decode,) = (phase for phase in report.plan.phases if phase.name == "decode")
    assert [gather.select.k for gather in decode.gathers()] == [2 * K]
    texts = np.random.default_rng(3).integers(0, 40, (2, 6))
    executor = open_batch(report.path, "host")
    executor.begin([0, 0])
    executor.prefill(texts[:, :5], 0)
    executor.step(texts[:, 5], 5)
    found = executor.logits()
    executor.close()
    source = load_source(tmp_path / "model.onnx")
    for tokens, ours in zip(texts.tolist(), found, strict=True):
        wanted = Reference.original(source).score(tokens)[-1]
        assert np.mean((ours - wanted) ** 2) < 1e-9 * np.mean(wanted**2)


@pytest.mark.slow
def test_too_little_is_told_by_its_parts(tmp_path: Path) -> None:
    with pytest.raises(PocketError, match=r"less than this model needs with its FFNs") as caught:
        compiled_toy(tmp_path, "mixtral", memory="20%")
    assert "staging" in caught.value.because and "--memory" in caught.value.hint


# --- which networks are found, and how they may be read ------------------------------------------

NETWORK = """<ir_version: 10, opset_import: ["": 20, "pocket": 1]>
g (float[1, S, 5] x, int64[1, S, 3] indices) => (y)
<float[5, 56] first, float[7, 20] last, int64[1] where = {2}> {
  rows = Unsqueeze (x, where)
  both = pocket.Experts <experts = 4> (rows, first, indices)
  h = pocket.Glu:silu (both)
  y = pocket.Experts <experts = 4> (h, last, indices) }"""


def found_in(source: str) -> tuple[list[Any], list[str]]:
    model = text(source)
    infer(model)
    networks, missed = find_expert_networks(model)
    return networks, [str(each) for each in missed]


def test_a_network_is_two_products_of_the_same_choice() -> None:
    (network,), missed = found_in(NETWORK)
    assert (network.experts, network.width, network.gated, missed) == (4, 7, True, [])


CHANGES = {
    "another router": (
        "y = pocket.Experts <experts = 4> (h, last, indices)",
        "others = Identity (indices) y = pocket.Experts <experts = 4> (h, last, others)",
        "no other product",
    ),
    "another number": ("<experts = 4> (h", "<experts = 2> (h", "different numbers"),
    "matrices of two": (
        "y = pocket",
        "z = pocket.Experts <experts = 4> (h, last, indices) y = pocket",
        "used more than once",
    ),
    "no unit": (
        "h = pocket.Glu:silu (both)",
        "gates, ups = Split <axis = -1, num_outputs = 2> (both) h = Mul (gates, ups)",
        "not read as gates and ups",
    ),
}


@pytest.mark.parametrize("old, new, reason", CHANGES.values(), ids=CHANGES)
def test_others_stay_in_memory_with_a_reason(old: str, new: str, reason: str) -> None:
    assert NETWORK.count(old) == 1
    networks, missed = found_in(NETWORK.replace(old, new))
    assert not networks and any(reason in each for each in missed), missed


@pytest.mark.parametrize("sparsity", [None, *SPARSITIES])
def test_each_selector_of_experts(sparsity: str | None) -> None:
    """Runs as the router chooses, or is refused by name."""
    networks, _ = found_in(NETWORK)
    if sparsity in OF_EXPERTS:
        check_experts(networks, sparsity, others=False)
        return
    with pytest.raises(PocketError, match=f"--sparsity {sparsity} cannot be used") as caught:
        check_experts(networks, sparsity, others=False)
    assert caught.value.because.startswith("experts 0 is swiglu experts: ")
    assert caught.value.hint == "--sparsity ids"
    assert verdict("swiglu", "ids", experts=True).name == "exact"


def test_ids_are_for_experts() -> None:
    assert selectors_of([], "ids", [], experts=True) == ()
