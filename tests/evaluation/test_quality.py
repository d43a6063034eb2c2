"""Four-bit weights on the command line: options, what they refuse, and the report per weight."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import numpy_helper

import toolkit
from onnx_passes.analysis.matrices import find_matrices
from onnx_passes.weights.quantized import QuantizedTensor
from toolkit.cli import cli
from toolkit.compiler.options import choose
from toolkit.compiler.report import CompileReport
from toolkit.compiler.rewriting.passes import rewritten_for
from toolkit.compiler.source import load_source
from toolkit.errors import PocketError
from toolkit.plan.load import load_plan

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"


def call(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> CompileReport:
    out = tmp_path_factory.mktemp("plans") / "demo.plan"
    rules = ["*down_proj*=f32"]
    return toolkit.compile(DEMO, out, device="pocl", weights="e0m4", group=64, keep=rules)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--weights", "q4"], "'q4' is not one of"),
        (["--weights", "e0m4", "--group", "48"], "'48' is not one of '16', '32', '64'"),
        (["--weights", "e0m4", "--keep", "lm_head"], "'lm_head' is not PATTERN=f16"),
        (["--weights", "e0m4", "--keep", "lm_head=q8"], "is not PATTERN=f16 or PATTERN=f32"),
        (["--weights", "e0m4", "--keep", "=f16"], "is not PATTERN=f16 or PATTERN=f32"),
        (["--weights", "f16", "--group", "64"], "go with --weights e0m4"),
        (["--symmetric"], "go with --weights e0m4"),
        (["--keep", "lm_head=f16"], "go with --weights e0m4"),
    ],
)
def test_a_wrong_command_line(args: list[str], words: str, tmp_path: Path) -> None:
    result = call("compile", DEMO, "-o", tmp_path / "x.plan", *args)
    assert result.exit_code == 2 and words in result.stderr, result.output
    assert not (tmp_path / "x.plan").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "q4"}, "weights cannot be stored as 'q4'"),
        ({"weights": "e0m4", "group": 48}, "--group 48 is not known"),
        ({"weights": "f32", "group": 32}, "--group has no meaning with --weights f32"),
        ({"weights": "source", "keep": ["a=f16"]}, "--keep has no meaning"),
        ({"weights": "e0m4", "keep": ["a=f8"]}, "--keep a=f8 is no rule"),
    ],
)
def test_the_same_from_python(options: dict[str, Any], words: str) -> None:
    with pytest.raises(PocketError) as error:
        choose(load_source(DEMO), {"class": "cpu"}, **options)
    assert words in error.value.what and error.value.because and error.value.hint


@pytest.mark.slow
def test_a_rule_without_a_weight_leaves_nothing(tmp_path: Path) -> None:
    args = ("--device", "pocl", "--weights", "e0m4", "--keep", "x=f16")
    result = call("compile", DEMO, "-o", tmp_path / "x.plan", *args)
    assert result.exit_code == 1 and list(tmp_path.iterdir()) == []
    assert "Error: --keep x=f16 fits no weight of this model" in result.stderr


def test_the_plan_keeps_the_options_and_makes_the_same_graph_again(report: CompileReport) -> None:
    plan = load_plan(report.path)
    chosen = {key: plan.model["options"][key] for key in ("weights", "group", "keep")}
    assert chosen == {"weights": "e0m4", "group": 64, "keep": ["*down_proj*=f32"]}
    matrices = list(find_matrices(rewritten_for(load_source(DEMO), plan)))
    kept = [m for m in matrices if not isinstance(m.tensor, QuantizedTensor)]
    assert len(matrices) == 22 and len(kept) == 5
    assert all("down_proj" in " ".join(m.names) for m in kept)


def test_the_report_of_a_model() -> None:
    result = call("inspect", DEMO, "--quality", "--group", 64, "--keep", "embed=f16", "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    by_name = {row["name"]: row for row in figures["weights"]}
    row = by_name["layers.0.qkv.weight"]
    assert (row["N"], row["K"], row["bits"], row["group"]) == (256, 128, 4, 64)
    assert row["bits_per_weight"] == 4.375
    assert 0.05 < row["rms_error"] < row["worst_group"]["rms_error"] < 1
    assert row["worst_group"]["row"] < 256 and row["worst_group"]["column"] in (0, 64)
    assert 0 < row["max_error"] < 1 and 0 <= row["outliers"] < 0.01
    kept = by_name["model.embed_tokens.weight"]
    assert kept["bits"] == 16 and kept["group"] is None and "rms_error" not in kept
    assert 4.375 < figures["total"]["bits_per_weight"] < 16
    assert 0.05 < figures["total"]["rms_error"] < 0.15


def test_the_report_for_people_puts_the_worst_first_and_counts_a_tied_weight_once() -> None:
    result = call("inspect", DEMO, "--quality")
    lines = result.stdout.splitlines()
    errors = [float(line.split("%")[0]) for line in lines if line[:1].isdigit()]
    assert errors == sorted(errors, reverse=True) and len(errors) == 21
    assert sum(line.startswith("tied ") for line in lines) == 1
    assert any("/model/layers.0/mlp/down_proj/MatMul" in line for line in lines)
    assert any("1.1 M weights, 4.75 bits each" in line for line in lines)


@pytest.mark.slow
def test_the_report_of_a_plan_is_that_of_its_options(report: CompileReport) -> None:
    of_plan = call("inspect", report.path, "--quality", "--json")
    same = ("--group", 64, "--keep", "*down_proj*=f32")
    assert json.loads(of_plan.stdout) == json.loads(
        call("inspect", DEMO, "--quality", *same, "--json").stdout
    )
    refused = call("inspect", report.path, "--quality", "--group", 32)
    assert refused.exit_code == 1 and "options of the compile" in refused.stderr
    assert call("inspect", DEMO, "--group", 32).exit_code == 2


@pytest.mark.slow
def test_symmetric_codes_have_no_zero_points() -> None:
    options = ("--quality", "--symmetric", "--json")
    row, *_ = json.loads(call("inspect", DEMO, *options).stdout)["weights"]
    assert row["bits_per_weight"] == 4.5 and 0.05 < row["rms_error"] < 0.15


@pytest.mark.slow
def test_a_plan_that_was_not_quantised_says_so(tmp_path: Path) -> None:
    plain = toolkit.compile(DEMO, tmp_path / "x.plan", device="pocl")
    result = call("inspect", plain.path, "--quality")
    assert result.exit_code == 1 and "was compiled with --weights source" in result.stderr


@pytest.mark.slow
def test_a_weight_without_codes_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    model = onnx.load(DEMO / "model.onnx")
    (weight,) = (t for t in model.graph.initializer if t.name == "onnx::MatMul_1627")
    array = numpy_helper.to_array(weight).copy()
    array[300, 77] = 1e9  # far from the corner that weights are told apart by
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    onnx.save(model, tmp_path / "model.onnx")
    args = (tmp_path / "model.onnx", "-o", tmp_path / "x.plan", "--device", "pocl")
    result = call("compile", *args, "--weights", "e0m4")
    assert result.exit_code == 1 and [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert "Error: onnx::MatMul_1627 cannot be stored in 4 bits" in result.stderr
    assert "because: a weight of 1e+09 needs a scale beyond float16" in result.stderr
    rule = "onnx::MatMul_1627=f32"
    assert f"--keep '{rule}'" in result.stderr
    assert call("compile", *args, "--weights", "e0m4", "--keep", rule).exit_code == 0
