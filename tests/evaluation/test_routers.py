"""Routers are found above experts, however exporters spell them: their scores, and how many win."""

import pytest
from expert_graphs import TOGETHER, gathered, scattered, weighed
from needed import here
from pass_helpers import SHARED, read, text

import onnx_passes
from onnx_passes.gather_experts import gather_experts
from onnx_passes.ir.infer import infer
from onnx_passes.sum_experts import sum_experts
from toolkit.compiler.calibration.routers import Groups, routers_of

SPELLINGS = {
    "weighed": weighed([0, 1, 2, 3]),
    "scattered": scattered(),
    "gathered": gathered("Gather", "left"),
    "all computed": TOGETHER,
}
CHOICE = """<ir_version: 10, opset_import: ["": 20, "pocket": 1]>
g (float[M, 6] scores, float[M, 1, 5] x) => (y)
<float[5, 42] w, int64[1] k = {{2}}, int64[4] pads = {{0, 0, 0, 1}}, int64 shared = {{5}},
 int64[1] last = {{-1}}>
{{ {choice}  y = pocket.Experts <experts = 6> (x, w, indices) }}"""
CHOICES = {
    "with one that all take": (
        "v, i = TopK <axis = -1> (scores, k)  indices = Pad (i, pads, shared)",
        (2, True, None),
    ),
    "the greatest": (
        "one = ArgMax <axis = -1, keepdims = 0> (scores)  indices = Unsqueeze (one, last)",
        (1, True, None),
    ),
    "the least": ("v, indices = TopK <axis = 1, largest = 0> (scores, k)", (2, False, None)),
    "of groups": (
        "v, indices = pocket.GroupTopK <groups = 3, best = 1, kept = 2, fill = -1.0, k = 2> "
        "(scores)",
        (2, True, Groups(3, 1, 2, -1.0)),
    ),
}


@pytest.mark.parametrize("source", SPELLINGS.values(), ids=SPELLINGS)
def test_one_router_and_its_scores_before_the_softmax(source: str) -> None:
    model = text(source)
    infer(model)
    assert sum_experts(model).rewrites + gather_experts(model).rewrites == 1
    (router,) = routers_of(model.graph)
    assert router.scores.name == "logits" and router.k == 2 and router.largest


@pytest.mark.parametrize(("choice", "found"), CHOICES.values(), ids=CHOICES)
def test_how_a_router_chooses(choice: str, found: tuple[int, bool, Groups | None]) -> None:
    model = text(CHOICE.format(choice=choice))
    infer(model)
    (router,) = routers_of(model.graph)
    assert router.scores.name == "scores" and router[1:4] == found and router.worth is None


def test_other_choices_are_none_of_experts() -> None:
    source = CHOICE.format(choice="v, i = TopK <axis = -1> (scores, k)  indices = Add (k, k)")
    model = text(source.replace("=> (y)", "=> (y, i)"))
    infer(model)
    assert routers_of(model.graph) == []


MODELS = {
    "glm4_moe/dynamo": 1,
    "gpt_oss/optimum": 2,
    "gpt_oss/genai-fp32": 2,
    "olmoe/mobius-default": 2,
}


@pytest.mark.parametrize(("folder", "routers"), MODELS.items())
def test_exports_have_a_router_for_each_mixture(folder: str, routers: int) -> None:
    path = here(SHARED / "more" / "decoders" / folder)
    model = read(path)
    list(onnx_passes.rewrite(model))
    found = routers_of(model.graph)
    assert [router.k for router in found] == [2] * routers
