"""A shared expert becomes experts that every token chooses: the same outputs, fewer products."""

import numpy as np
import onnx_ir as ir
import pytest
from expert_graphs import scattered, weighed
from needed import here
from pass_helpers import SHARED, missed, op_types, read, same_outputs, text

import onnx_passes
from onnx_passes.fuse_glu import fuse_glu
from onnx_passes.ir.edit import drop_unused
from onnx_passes.ir.infer import infer
from onnx_passes.join_shared_expert import join_shared_expert
from onnx_passes.sum_experts import sum_experts
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.source import load_source

SHARED_EXPERT = """
  sgate = MatMul ({x}, shared_gate)
  ssig = Sigmoid (sgate)
  sact = Mul (sgate, ssig)
  sup = MatMul ({x}, shared_up)
  sh = Mul (sact, sup)
  shared = MatMul (sh, shared_down)
"""
GATED = """
  share_logit = MatMul (rows, share_weight)
  share = Sigmoid (share_logit)
  counted = Mul (share, shared)
"""


def beside_shared(times: int, source: str = "", gated: bool = False, x: str = "rows") -> str:
    """A mixture of experts of width 5, and a shared expert of `times` that width."""
    source = source or weighed([0, 1, 2, 3])
    for e in range(4):  # a bias would need one of the shared expert
        source = source.replace(f"ub{e} = Add (u{e}, bias{e})", f"ub{e} = Identity (u{e})")
        source = source.replace(f"Mul (a{e}, ub{e})", f"Mul (a{e}, u{e})")
    wide = 5 * times
    weights = f"float[6, {wide}] shared_gate, float[6, {wide}] shared_up"
    source = source.replace(
        "float[6, 4] router",
        f"{weights}, float[{wide}, 6] shared_down, float[6, 1] share_weight, float[6, 4] router",
    )
    ended = "counted" if gated else "shared"
    more = SHARED_EXPERT.format(x=x) + (GATED if gated else "")
    source = source.replace("y = Add", "mixture = Add")
    return source[: source.rindex("}")] + f"{more}  y = Add (mixture, {ended}) }}"


def fused(source: str) -> ir.Model:
    """The graph as it comes to the pass."""
    model = text(source)
    infer(model)
    for run_pass in (sum_experts, fuse_glu):
        run_pass(model)
        drop_unused(model)
        infer(model)
    return model


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("spelled", [weighed([0, 1, 2, 3]), scattered()], ids=["all", "some"])
def test_all_are_experts(spelled: str, times: int, gated: bool) -> None:
    model = fused(beside_shared(times, spelled, gated))
    for rows in (1, 7):
        with same_outputs(model, S=rows):
            outcome = join_shared_expert(model)
            assert outcome.rewrites == (rows == 1) and not outcome.misses
    left = op_types(model)
    assert left.count("Experts") == 2 and left.count("Glu") == 1
    assert left.count("MatMul") == 1 + gated
    experts = [
        node.attributes["experts"].value for node in model.graph if node.op_type == "Experts"
    ]
    assert experts == [4 + times] * 2


CHANGES = {
    "another input": (beside_shared(1, x="logits6"), "reads another value"),
    "another unit": (
        beside_shared(1).replace(
            "ssig = Sigmoid (sgate)\n  sact = Mul (sgate, ssig)", "sact = Relu (sgate)"
        ),
        "unit is another",
    ),
    "another width": (
        beside_shared(1)
        .replace("[6, 5] shared_", "[6, 7] shared_")
        .replace("[5, 6] shared", "[7, 6] shared"),
        "is no multiple",
    ),
    "a bias": (
        beside_shared(1)
        .replace("shared_down)", "shared_down, flaw)")
        .replace("= MatMul (sh,", "= pocket.Linear (sh,")
        .replace("float[6, 4] router", "float[6] flaw, float[6, 4] router")
        .replace('["": 20]', '["": 20, "pocket": 1]'),
        "has biases",
    ),
}


@pytest.mark.parametrize(("source", "reason"), CHANGES.values(), ids=CHANGES)
def test_what_differs_stays_beside_them(source: str, reason: str) -> None:
    source = source.replace(
        "rows = Reshape (x, flat)", "rows = Reshape (x, flat) logits6 = Neg (rows)"
    )
    rewrites, misses = missed(join_shared_expert, fused(source))
    assert rewrites == 0 and any(reason in miss for miss in misses), misses


@pytest.mark.parametrize("folder", ["glm4_moe/dynamo", "deepseek_v3/optimum"])
def test_exports_answer_as_before(folder: str) -> None:
    path = here(SHARED / "more" / "decoders" / folder)
    model = read(path)
    done = {name: outcome.rewrites for name, outcome in onnx_passes.rewrite(model)}
    assert done["join_shared_expert"] == done["fuse_group_topk"] == 1
    original, rewritten = Reference.original(load_source(path)), Reference.of(model)
    ids = np.random.default_rng(0).integers(3, 500, 14).tolist()
    for piece in (ids[:11], ids[11:12], ids[12:]):
        theirs, ours = original.score(piece), rewritten.score(piece)
        assert np.mean((ours - theirs) ** 2) < 1e-9 * np.mean(theirs**2)
