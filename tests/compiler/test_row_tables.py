"""Plans whose embedding lies in flash: a token reads its row, and answers stay what they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flash_networks import GATED, RELU, made
from flash_rows import UNTIED, V, coded, made_worded
from pass_helpers import decoder

from onnx_passes.analysis.embedding import TIED, find_embeddings
from toolkit.compiler.budget.costs import cost_of, costs_of, facts_of
from toolkit.compiler.budget.told import budget_lines
from toolkit.compiler.report import CompileReport
from toolkit.evaluation.verify import verify
from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.plan.schema import Point, Select

IDS = [3, 999, 3, 7, 7, 1234, 3999, 0, 5, 3, 999, 3]  # several times in a chunk, and again


MEASURED = {"bandwidth_measured_gbs": 20.0, "fp32_tflops": 0.1}


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> CompileReport:
    return made_worded(tmp_path_factory.mktemp("rows"), *UNTIED, memory="66%")


def test_each_phase_asks_for_its_ids(halves: CompileReport) -> None:
    plan, point = halves.plan, halves.plan.points[-1]
    (number,) = (i for i, table in enumerate(plan.tables) if table.kind == "row")
    gathers = [g for phase in plan.phases for g in phase.gathers()]
    asked = {phase.name: phase.gathers()[0].select for phase in plan.phases}
    tokens = ("buffer", [buffer.name for buffer in plan.buffers].index("tokens"))
    most = {"decode": 1, "prefill": 8, "score": 8}
    assert asked == {name: Select("ids", tokens, k=k) for name, k in most.items()}
    told = {k for g, k in zip(gathers, point.select, strict=True) if g.table == number}
    assert told == {1.0, 8.0}
    assert 0 < point.slots[number] < V and point.pinned[number] == 0
    assert not any("table" in weight.name for weight in plan.weights)
    assert halves.figures["row_bytes"] == V * 64
    assert any("embedding on flash" in line for line in budget_lines(halves.figures))


def test_records_are_the_rows(halves: CompileReport) -> None:
    import onnx_ir as ir

    model = ir.load(halves.path.parent / "model.onnx")
    expected = model.graph.initializers["table"].const_value
    (table,) = (table for table in halves.plan.tables if table.kind == "row")
    raw = np.fromfile(halves.path / halves.plan.files[table.file].path, np.float16)
    first = table.offset // 2
    found = raw[first : first + V * table.stride // 2].reshape(V, -1)[:, :32]
    assert expected is not None
    np.testing.assert_array_equal(found.astype(np.float32), expected.numpy())


def test_answers_are_onnx_runtimes(halves: CompileReport) -> None:
    report = verify(halves.path, on="host")
    assert report["ok"] and all(case["nmse"] < 1e-9 for case in report["cases"]), report


def test_runner_and_host_read_the_same(halves: CompileReport, tmp_path: Path) -> None:
    """With room for a few rows: they come, stay, go, and come again."""
    ids, traces = dict[str, list[int]](), dict[str, list[str]]()
    counts = dict[str, list[int]]()
    for name, of in (("host", HostExecutor), ("runner", RunnerExecutor)):
        executor: Any = of(halves.path, memory=_little(halves.plan.points[-1]),
                           trace=tmp_path / name)  # fmt: skip
        first = executor.prefill(IDS, 0)
        ids[name] = [first, *executor.decode(first, len(IDS), 12, ())]
        told = executor.stats()["tables"]
        counts[name] = [told[key] for key in ("selected", "hits", "reads", "read_bytes")]
        executor.close()
        traces[name] = (tmp_path / name).read_text().splitlines()
    assert ids["host"] == ids["runner"] and traces["host"] == traces["runner"]
    assert counts["host"] == counts["runner"]
    rows = list(_rows(traces["host"]))
    assert [row["sel"] for row in rows[:2]] == [sorted({*IDS[:8]}), sorted({*IDS[8:]})]
    assert [row["sel"] for row in rows[2:]] == [[each] for each in ids["host"][:12]]
    assert any(row["evict"] for row in rows) and any(row["hit"] for row in rows)


def _little(point: Point) -> int:
    """Bytes in which nearly no slots have room."""
    return point.memory - point.slots[0] * 192 - point.slots[1] * 64 + 1024


def _rows(lines: list[str]) -> Iterator[dict[str, Any]]:
    """Of a trace, what was gathered by ids: the first of two gathers of each phase."""
    yield from (each for each in map(json.loads, lines) if each["g"] % 2 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("weights, changes, memory", [
    ("source", (), "80%"),
    ("source", coded(8, zero=False), "95%"),
    ("source", coded(8, zero=True), "95%"),
    ("source", coded(4, zero=False), "95%"),
    ("source", coded(4, zero=True), "95%"),
])  # fmt: skip
@pytest.mark.parametrize("on", ["host", "runner"])
def test_rows_have_the_numbers_of_the_source(
    tmp_path: Path, weights: str, changes: tuple[tuple[str, str], ...], memory: str, on: str
) -> None:
    """Of networks in f32 nothing lies in flash, and that of an embedding may be enough."""
    done = made_worded(tmp_path, *UNTIED, *changes, weights=weights, memory=memory)
    assert [table.kind for table in done.plan.tables] == ["row"]
    assert done.figures["selector"] == "ids" and done.figures["requantized"] == []
    report = verify(done.path, on=on)
    assert report["ok"] and all(case["nmse"] < 1e-9 for case in report["cases"]), report


def test_networks_stay_where_the_embedding_is_enough(tmp_path: Path) -> None:
    done = made_worded(tmp_path, *UNTIED, memory="80%")
    assert [table.kind for table in done.plan.tables] == ["row"]
    assert [len(phase.gathers()) for phase in done.plan.phases] == [1, 1, 1]
    assert any("FFNs stay in memory" in line for line in budget_lines(done.figures))
    report = verify(done.path, on="runner")
    assert report["ok"] and all(case["nmse"] < 1e-9 for case in report["cases"]), report


def test_what_networks_cost_in_memory_is_not_that_of_rows(tmp_path: Path) -> None:
    """A device chooses among neurons itself where all are there; the gather of rows comes first."""
    changes = (*UNTIED, (GATED, RELU))
    plan = made_worded(tmp_path, *changes, memory="90%", sparsity="gate").plan
    decode = plan.phase("decode")
    assert decode and [g.select.by for g in decode.gathers()] == ["ids", "above"]
    assert costs_of(cost_of(plan, {**facts_of(plan), **MEASURED})).whole is not None


def test_a_tied_embedding_stays(tmp_path: Path) -> None:
    """Though the head is a matrix of its own, which is equal."""
    done = made(tmp_path, "swiglu")
    assert [table.kind for table in done.plan.tables] == ["neuron"]
    assert any(TIED in line for line in done.figures["resident_ffns"])


def test_only_ids_of_a_text_look_up_rows() -> None:
    """Positions do not, nor does what isn't constant, nor a table that a product reads."""
    model = decoder("""<ir_version: 10, opset_import: ["": 18]>
      d (int64[1, S] tokens, int64[1, S] positions, float[9, 4] given) => (float[1, S, 9] logits)
      <float[9, 4] own, float[16, 4] places, float[9, 4] shared, int64 one = {1}>
      { a = Gather(own, tokens) b = Gather(places, positions) c = Gather(given, tokens)
        e = Gather(shared, tokens) near = Sub(tokens, one) f = Gather(places, near)
        ab = Add(a, b) ce = Add(c, e) all = Add(ab, ce) h = Add(all, f)
        t = Transpose<perm = [1, 0]>(shared) logits = MatMul(h, t) }""", S="seq")  # fmt: skip
    found, missed = find_embeddings(model)
    assert [node.outputs[0].name for node in found] == ["a"]
    assert [TIED in str(each) for each in missed] == [True]
