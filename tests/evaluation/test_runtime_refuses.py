"""Models that ONNX Runtime refuses, and exports that compute less than all logits."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import helper, numpy_helper

import toolkit
from toolkit import cli, onnx_runtime
from toolkit.bench import rivals as bench_rivals
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source
from toolkit.evaluation import verify
from toolkit.plan.load import load_plan

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
IDS = [5, 17, 300, 45, 6, 91, 12]


def call(*args: Any) -> Result:
    return CliRunner().invoke(cli.cli, [str(arg) for arg in args])


def of_the_future(model: onnx.ModelProto) -> None:
    """A domain in a version that this ONNX Runtime doesn't know, although no node is of it."""
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 99))


def pruned(model: onnx.ModelProto) -> None:
    """Logits of the last row only, as builders write them for generation (prune_lm_head)."""
    graph = model.graph
    head = next(node for node in graph.node if "logits" in node.output)
    for name, value in (("last", -1), ("end", np.iinfo(np.int64).max), ("along", 1)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    node = helper.make_node("Slice", [head.input[0], "last", "end", "along"], ["last_row"])
    graph.node.insert(list(graph.node).index(head), node)
    head.input[0] = "last_row"


def compiled(folder: Path, edit: Callable[[onnx.ModelProto], None]) -> tuple[Path, Path]:
    """A model and its plan."""
    model = onnx.load(DEMO / "model.onnx")
    edit(model)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    toolkit.compile(folder / "model.onnx", folder / "x.plan", device="pocl", max_context=70)
    return folder / "model.onnx", folder / "x.plan"


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("refused"), of_the_future)[1]


def test_verify_compares_with_the_rewritten_graph_alone(refused: Path) -> None:
    result = call("verify", refused, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["ok"] and found["greedy_match"] and found["original"] == []
    assert found["original_refused"].startswith("ONNX Runtime")
    assert len(found["cases"]) > 5
    text = "\n".join(verify.lines(found))
    assert "not against the original model: ONNX Runtime" in text
    assert "tokens as the rewritten graph" in text


def test_eval_says_who_refuses(refused: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(20))
    result = call("eval", refused, "--text", tmp_path / "ids.npy")
    assert result.exit_code == 1, result.output
    first, *_, last = result.stderr.splitlines()
    assert first.startswith("Error: ONNX Runtime") and "cannot load" in first
    assert "--no-reference" in last


def test_a_rival_says_who_refuses(refused: Path) -> None:
    with pytest.raises(onnx_runtime.Refused, match="cannot load"):
        bench_rivals.OnnxRuntime(load_plan(refused), 1)


def test_what_fails_only_when_it_runs(tmp_path: Path) -> None:
    """The kind and the C++ that threw go, the reason stays."""
    source = """<ir_version: 10, opset_import: ["": 18]> g (float[a] x, float[b] y)
    => (float[a] z) { z = Add(x, y) }"""
    onnx.save(onnx.parser.parse_model(source), tmp_path / "m.onnx")
    session = onnx_runtime.open_session(tmp_path / "m.onnx")
    with pytest.raises(onnx_runtime.Refused) as caught:
        onnx_runtime.run_session(session, {"x": np.ones(2, "f4"), "y": np.ones(3, "f4")})
    error = caught.value
    assert "cannot run" in error.what and "ONNXRuntimeError" not in error.because
    assert "Add" in error.because and error.hint


@pytest.mark.parametrize(
    "text, reason",
    [
        ("[ONNXRuntimeError] : 10 : INVALID_GRAPH : Load model from /a b/m.onnx failed:It is odd.",
         "It is odd."),
        ("[ONNXRuntimeError] : 1 : FAIL : Load model from m.onnx failed:/src/core/model.cc:25 "
         "onnxruntime::Model::Model(onnx::ModelProto&&, int) Unsupported model IR version: 14",
         "Unsupported model IR version: 14"),
        ("", "MemoryError"),
    ],
)  # fmt: skip
def test_reasons_without_what_stands_before_them(text: str, reason: str) -> None:
    with pytest.raises(onnx_runtime.Refused) as caught, onnx_runtime.refusals("it cannot"):
        raise MemoryError(text)
    assert caught.value.because == reason


# --- pruned --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return compiled(tmp_path_factory.mktemp("pruned"), pruned)


def test_every_row_of_a_pruned_export_is_its_own(short: tuple[Path, Path]) -> None:
    whole, last = (Reference.original(load_source(path)) for path in (DEMO, short[0]))
    expected = whole.score(IDS)
    assert last.feed(IDS).shape == (1, expected.shape[1])
    last.reset()
    np.testing.assert_allclose(last.score(IDS), expected, rtol=1e-4, atol=1e-4)
    assert last.past == len(IDS) and whole.notes == []
    np.testing.assert_allclose(last.score(IDS[:2]), whole.score(IDS[:2]), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_verify_says_how_it_scored_a_pruned_export(short: tuple[Path, Path]) -> None:
    result = verify.verify(short[1])
    assert result["ok"] and result["greedy_match"]
    assert all(case["nmse"] < 1e-8 for case in result["original"])
    assert any("only the last row of a call" in line for line in verify.lines(result))


@pytest.mark.slow
def test_perplexity_of_a_pruned_export(short: tuple[Path, Path], tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.array(IDS * 3))
    result = call("eval", short[1], "--text", tmp_path / "ids.npy", "--json")
    found = json.loads(result.stdout)
    assert found["reference_perplexity"] == pytest.approx(found["perplexity"], rel=1e-4)
    assert found["same_top1"] == 1
