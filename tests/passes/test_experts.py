"""pocket.Experts: its shape, and where the spellings of exporters become it."""

import numpy as np
import onnx_ir as ir
import pytest
from expert_graphs import TOGETHER, gathered, scattered, weighed
from needed import here
from pass_helpers import SHARED, missed, op_types, read, same_outputs, text

import onnx_passes
from onnx_passes.fuse_glu import fuse_glu
from onnx_passes.gather_experts import gather_experts
from onnx_passes.ir.edit import drop_unused
from onnx_passes.ir.infer import infer
from onnx_passes.sum_experts import sum_experts
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source

EXPERTS = """
<ir_version: 10, opset_import: ["": 20, "pocket": 1]>
g (float[B, S, {T}, 5] x, int64[B, S, 3] indices) => (y)
<float[5, 28] w> {{ y = pocket.Experts <experts = 4> (x, w, indices) }}
"""


@pytest.mark.parametrize("T", [1, 3])
def test_shape(T: int) -> None:
    model: ir.Model = text(EXPERTS.format(T=T))
    infer(model)
    shape = model.graph.outputs[0].shape
    assert shape is not None and [str(d) for d in shape] == ["B", "S", "3", "7"]


def spelled(source: str) -> ir.Model:
    model = text(source)
    infer(model)
    return model


SPELLINGS = {
    "weighed": (weighed([0, 1, 2, 3]), 3),
    "weighed, in another order": (weighed([2, 0, 3, 1]), 3),
    "scattered": (scattered(), 3),
    "scattered, slots first": (scattered("2, 1, 0"), 3),
    "scattered from rows of one": (scattered("2, 1, 0", rows_of_one=True), 3),
    "gathered": (gathered("Gather", "left"), 1),
    "gathered rows": (gathered("Gather", "right"), 1),
    "gathered by GatherND": (gathered("GatherND", "left"), 1),
    "all computed": (TOGETHER, 2),
}


@pytest.mark.parametrize(("source", "products"), SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("S", [1, 7])
def test_spellings_become_products_of_chosen_matrices(source: str, products: int, S: int) -> None:
    model = spelled(source)
    with same_outputs(model, S=S):
        outcomes = [run_pass(model) for run_pass in (sum_experts, gather_experts)]
        assert sorted(outcome.rewrites for outcome in outcomes) == [0, 1]
        assert not any(outcome.misses for outcome in outcomes)
    left = op_types(model)
    assert left.count("Experts") == products
    assert not {"NonZero", "OneHot", "Tile"} & set(left) - ({"Tile"} if products == 1 else set())


CHANGES = {  # of a text, and why it is left as it is
    "another activation": ("s2 = Sigmoid (g2)", "s2 = Tanh (g2)", "do not compute the same"),
    "an expert twice": ("Constant <value_int = 3>", "Constant <value_int = 2>", "comes twice"),
    "another router": ("Equal (indices, e1)", "Equal (others, e1)", "different routers"),
    "another input": ("MatMul (rows, up2)", "MatMul (logits6, up2)", "do not compute the same"),
    "a bias elsewhere": ("h1 = Mul (a1, ub1)", "h1 = Mul (a1, bias1)", "do not compute the same"),
}


@pytest.mark.parametrize(("old", "new", "reason"), CHANGES.values(), ids=CHANGES)
def test_what_differs_is_left_with_a_reason(old: str, new: str, reason: str) -> None:
    source = weighed([0, 1, 2, 3])
    assert source.count(old) == 1
    extra = "others = Identity (indices) logits6 = Identity (rows)"
    source = source.replace(old, new).replace(
        "gates, indices = TopK <axis = -1> (odds, k)",
        f"gates, indices = TopK <axis = -1> (odds, k) {extra}",
    )
    rewrites, misses = missed(sum_experts, spelled(source))
    assert rewrites == 0 and any(reason in miss for miss in misses), misses


@pytest.mark.parametrize("change", ["slots{e} = Squeeze (second", "tokens{e} = Squeeze (first"])
def test_rows_and_gates_must_be_of_the_same_choice(change: str) -> None:
    """Slots where tokens belong, and the other way round."""
    source = scattered()
    for e in range(4):
        old = change.format(e=e)
        swapped = old.replace("second", "#").replace("first", "second").replace("#", "first")
        assert old in source
        source = source.replace(old, swapped)
    rewrites, _ = missed(sum_experts, spelled(source))
    assert rewrites == 0


MODELS = {"glm4_moe/dynamo": 2, "gpt_oss/optimum": 4, "deepseek_v3/optimum": 3}


@pytest.mark.parametrize(("folder", "products"), MODELS.items())
def test_exports_answer_as_before(folder: str, products: int) -> None:
    path = here(SHARED / "more" / "decoders" / folder)
    model = read(path)
    for name, _ in onnx_passes.rewrite(model):
        if name == "gather_experts":
            break
    left = [node.op_type for node in model.graph]
    assert left.count("Experts") == products and "NonZero" not in left
    original, rewritten = Reference.original(load_source(path)), Reference.of(model)
    ids = np.random.default_rng(0).integers(3, 500, 14).tolist()
    for piece in (ids[:11], ids[11:12], ids[12:]):
        theirs, ours = original.score(piece), rewritten.score(piece)
        assert np.mean((ours - theirs) ** 2) < 1e-9 * np.mean(theirs**2)


def glu_of(source: str) -> ir.Model:
    model = spelled(source)
    with same_outputs(model, S=5):
        sum_experts(model)
        gather_experts(model)
        drop_unused(model)
        infer(model)
        assert fuse_glu(model).rewrites == 1
    return model


def test_gates_and_ups_of_experts_become_one_product() -> None:
    source = weighed([0, 1, 2, 3])
    for e in range(4):  # ups without a bias: both have one, or none
        source = source.replace(f"Mul (a{e}, ub{e})", f"Mul (a{e}, u{e})")
    assert op_types(glu_of(source)).count("Experts") == 2
    left = op_types(glu_of(weighed([0, 1, 2, 3])))
    assert left.count("Experts") == 2 and left.count("Glu") == 1


def test_halves_of_one_product_of_experts_are_a_gated_unit() -> None:
    source = (
        gathered("GatherND", "left")
        .replace(
            "y = Squeeze (product, last)",
            """
  both = Squeeze (product, last)
  gate, up = Split <axis = 1, num_outputs = 2> (both)
  s = Sigmoid (gate)
  a = Mul (gate, s)
  y = Mul (a, up)""",
        )
        .replace("4, 5, 6] table", "4, 10, 6] table")
    )
    assert "Split" not in op_types(glu_of(source))
