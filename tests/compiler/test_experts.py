"""A decoder with a mixture of experts: its plan answers as ONNX Runtime does."""

from functools import partial
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from expert_graphs import COMPUTED, FFN
from pass_helpers import text
from tiny_decoder import decoder_text

import toolkit
from toolkit.compiler import pipeline
from toolkit.compiler.weights.table import WeightTable
from toolkit.evaluation.verify import verify
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Dispatch

MIXTURE = """first = Mod(input_ids, four)  second = Mod(position_ids, four)
  one = Unsqueeze(first, v2)  other = Unsqueeze(second, v2)
  chosen = Concat<axis = 2>(one, other)
  up3 = Gather<axis = 0>(ups, chosen)  row = Unsqueeze(y, v2)  column = Unsqueeze(row, minus)
  product = MatMul(up3, column)  plain = Squeeze(product, minus)
  biases = Gather<axis = 0>(expert_bias, chosen)  biased = Add(plain, biases)
  gate, up = Split<axis = -1, num_outputs = 2>(BOTH)  sg = Sigmoid(gate)  act = Mul(gate, sg)
  mix = Mul(act, up)  mixed = Unsqueeze(mix, minus)  down3 = Gather<axis = 0>(downs, chosen)
  down0 = MatMul(down3, mixed)  outputs = Squeeze(down0, minus)
  score = MatMul(y, router)  odds = Sigmoid(score)  share = Unsqueeze(odds, minus)
  weighed = Mul(outputs, share)  down = ReduceSum<keepdims = 0>(weighed, v2)"""
GROUPS = (
    """score = MatMul(y, router)  odds = Sigmoid(score)  scores = Add(odds, scores_bias)
  by_group = Reshape(scores, apart)  best, where = TopK(by_group, v1)
  counts = ReduceSum<keepdims = 0>(best, minus)  most, group = TopK(counts, v2)
  all = Shape(counts)  none = ConstantOfShape(all)  size = Shape(group)  ones = Expand(mark, size)
  marks = ScatterElements<axis = 2>(none, group, ones)  upright = Unsqueeze(marks, minus)
  wide = Shape(by_group)  spread = Expand(upright, wide)  like = Shape(scores)
  marked = Reshape(spread, like)  flags = Cast<to = 9>(marked)  left = Where(flags, scores, least)
  values, chosen = TopK(left, pair)  own = GatherElements<axis = 2>(odds, chosen)
  odds_sum = ReduceSum<keepdims = 1>(own, minus)  gates = Div(own, odds_sum)
"""
    + COMPUTED
    + """  share = Unsqueeze(gates, minus)  weighed = Mul(outputs, share)
  mixture = ReduceSum<keepdims = 0>(weighed, v2)
  sgate = MatMul(y, shared_gate)  ssg = Sigmoid(sgate)  sact = Mul(sgate, ssg)
  sup = MatMul(y, shared_up)  smix = Mul(sact, sup)  shared = MatMul(smix, shared_down)
  down = Add(mixture, shared)"""
)
GROUP_WEIGHTS = """float[12, 48, 32] ups, float[12, 32, 24] downs, float[32, 12] router,
 float[12] scores_bias, float[32, 48] shared_gate, float[32, 48] shared_up,
 float[48, 32] shared_down, int64[4] apart = {1, -1, 4, 3}, int64[1] pair = {2}, float mark = {1},
 float least = {-3},"""
WEIGHTS = """float[48, 32] wd, float[4, 76, 32] ups, float[4, 76] expert_bias,
 float[4, 32, 38] downs, float[32, 2] router, int64 four = {4},"""


def saved(folder: Path, both: str, odds: str = "Sigmoid") -> Path:
    """The tiny decoder with experts, of whose ups `both` is read; `odds` make their gates."""
    source = decoder_text()
    assert FFN in source
    source = source.replace(
        FFN, MIXTURE.replace("BOTH", both).replace("= Sigmoid(score", f"= {odds}(score")
    )
    model = text(source.replace("float[48, 32] wd,", WEIGHTS))
    onnx.save(ir.to_proto(model), folder / "model.onnx")
    return folder / "model.onnx"


def compiled(model: Path, folder: Path, **options: str) -> dict[str, list[str]]:
    """Names of the kernels of every phase, after the plan has proved right."""
    plan = folder / "model.plan"
    toolkit.compile(str(model), plan, max_context=32, **options)
    assert verify(plan, on="host")["ok"]
    loaded = load_plan(plan)
    programs = [program.kernel for program in loaded.programs]
    return {
        phase.name: [
            programs[step.variants[0].program] for step in phase.steps if isinstance(step, Dispatch)
        ]
        for phase in loaded.phases
    }


@pytest.mark.parametrize(
    ("both", "weights", "device"),
    [
        ("biased", "e0m4", "pocl"),
        pytest.param("plain", "f32", "pocl", marks=pytest.mark.slow),
        pytest.param("plain", "f16", "adreno", marks=pytest.mark.slow),
    ],
)
def test_plan_answers_as_onnxruntime(both: str, weights: str, device: str, tmp_path: Path) -> None:
    model = saved(tmp_path, both)
    for kernels in compiled(model, tmp_path, device=device, weights=weights).values():
        assert sum("experts" in name for name in kernels) == 2


@pytest.mark.parametrize("odds", ["Sigmoid", pytest.param("Softmax", marks=pytest.mark.slow)])
def test_few_rows_are_mixed_where_they_are_made(odds: str, tmp_path: Path) -> None:
    """And many are gathered by expert."""
    phases = compiled(saved(tmp_path, "biased", odds), tmp_path, device="pocl", weights="f32")
    assert not {"reduce", "rows_cpu"} & set(phases["decode"])
    assert "experts_gemm_cpu" not in phases["decode"]
    assert phases["prefill"].count("experts_gemm_cpu") == 2


@pytest.mark.parametrize(
    ("weights", "device"),
    [
        ("f32", "pocl"),
        pytest.param("e0m4", "pocl", marks=pytest.mark.slow),
        pytest.param("f32", "generic", marks=pytest.mark.slow),
    ],
)
def test_groups_and_a_shared_expert(weights: str, device: str, tmp_path: Path) -> None:
    """Twelve experts in four groups, and one of twice their width: four launches in decode,
    the norm before them in the first."""
    source = decoder_text().replace(FFN, GROUPS).replace("float[48, 32] wd,", GROUP_WEIGHTS)
    onnx.save(ir.to_proto(text(source)), tmp_path / "model.onnx")
    phases = compiled(tmp_path / "model.onnx", tmp_path, device=device, weights=weights)
    for kernels in phases.values():
        assert kernels.count("topk_short") == 1
        assert sum("experts" in name for name in kernels) == 2
    decode = phases["decode"]
    first = decode.index("topk_short")
    assert "experts" in decode[first + 1] and "experts" in decode[first + 2]
    assert not {"map", "scatter", "reduce", "topk", "rmsnorm", "rmsnorm_cpu"} & set(decode)


@pytest.mark.slow
def test_experts_that_are_split_over_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One dispatch for each slice; the others' rows are left alone."""
    small = partial(WeightTable, shard_bytes=2 * 96 * 32 * 4)
    monkeypatch.setattr(pipeline, "WeightTable", small)
    model = saved(tmp_path, "biased")
    for kernels in compiled(model, tmp_path, device="pocl", weights="f32").values():
        assert sum("experts" in name for name in kernels) > 2
