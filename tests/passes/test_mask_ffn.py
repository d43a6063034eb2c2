"""A masked network leaves out what its predictor says, where one position is fed, and no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import run
from tiny_decoder import feeds, tiny

from onnx_passes import Facts, GraphError, mask_ffn, rewrite
from onnx_passes.analysis.ffn import find_ffns
from onnx_passes.ir.facts import Mask
from onnx_passes.ir.infer import infer
from onnx_passes.weights import e0m4
from opencl_kernels.formats import Array

RELU = ("sg = Sigmoid(gate)  act = Mul(gate, sg)", "act = Relu(gate)")
GATED = (
    "gate = MatMul(y, wg)  up = MatMul(y, wu)  sg = Sigmoid(gate)  act = Mul(gate, sg)\n"
    "  mix = Mul(act, up)"
)
D, F, RANK = 32, 48, 16


def some_mask(threshold: float, bias: bool = True) -> Mask:
    rng = np.random.default_rng(5)
    A = e0m4.quantize(rng.standard_normal((RANK, D)).astype(np.float32), 32)
    B = e0m4.quantize(rng.standard_normal((F, RANK)).astype(np.float32), 16)
    return Mask(A, B, rng.standard_normal(F).astype(np.float32) if bias else None, threshold)


def drelu(first: str) -> str:
    """Both products end with ReLU: they stay two."""
    products = ["gate = MatMul(y, wg)", "up = MatMul(y, wu)"]
    ordered = products if first == "gate" else products[::-1]
    return " ".join((*ordered, "act = Relu(gate) ru = Relu(up) mix = Mul(act, ru)"))


def masked(*masks: Mask | None, unit: tuple[str, str] = RELU) -> ir.Model:
    """The tiny decoder after all passes, with masks of its one network."""
    model = tiny(unit)
    replace(Facts.of(model), masks=masks).note(model)
    for _ in rewrite(model):
        pass
    return model


def computed(model: ir.Model, seq: int) -> Array:
    known = {v.name for v in model.graph.inputs}
    found = run(model, {name: x for name, x in feeds(seq).items() if name in known})
    return np.asarray(found[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("seq", [1, 3])
def test_it_is_dense_where_several_positions_are_fed(seq: int, bias: bool) -> None:
    dense = computed(masked(), seq)
    none = computed(masked(some_mask(1e30, bias)), seq)
    every = computed(masked(some_mask(-1e30, bias)), seq)
    np.testing.assert_allclose(every, dense, rtol=1e-5, atol=1e-5)
    assert np.allclose(none, dense, atol=1e-5) == (seq > 1)


def test_what_is_computed_is_what_scores_above_the_threshold() -> None:
    mask = some_mask(0.25)
    model = masked(mask)
    [ffn] = find_ffns(model)[0]
    assert ffn.scores is not None and ffn.chosen is not None
    others = [ffn.x, ffn.scores, ffn.hidden]
    model.graph.outputs.extend(others)
    known = {v.name for v in model.graph.inputs}
    found = run(model, {name: x for name, x in feeds(1).items() if name in known})
    x, scores, hidden = found[-3:]
    assert mask.bias is not None
    wanted = x @ mask.A.values().T @ mask.B.values().T + mask.bias
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-4)
    assert 0 < (scores > 0.25).sum() < F
    assert not hidden[scores <= 0.25].any() and hidden[scores > 0.25].any()


def test_a_network_is_found_again_with_its_mask() -> None:
    plain, other = masked(), masked(some_mask(0.0))
    [before], [after] = find_ffns(plain)[0], find_ffns(other)[0]
    assert (before.act, before.width, before.depth) == (after.act, after.width, after.depth)
    assert before.scores is None and after.chosen in after.nodes
    infer(other)
    assert after.hidden.shape == before.hidden.shape


def test_no_masks_leave_the_graph_alone() -> None:
    model = masked(None)
    assert not [node for node in model.graph if node.op_type == "Above"]


@pytest.mark.parametrize("first", ["gate", "up"])
def test_scores_are_known_before_the_network_begins(first: str) -> None:
    """Two products, of which either may be the first in the graph."""
    model = masked(some_mask(0.25), unit=(GATED, drelu(first)))
    [ffn] = find_ffns(model)[0]
    scores = ffn.scores and ffn.scores.producer()
    assert scores is not None and ffn.gate is not None
    order = list(model.graph)
    products = [order.index(each.product) for each in (ffn.gate, ffn.up)]
    assert (products[0] < products[1]) == (first == "gate")
    assert order.index(scores) < min(order.index(node) for node in ffn.nodes)


@pytest.mark.parametrize("count", [2, 3])
def test_masks_of_another_model_are_refused(count: int) -> None:
    model = masked()
    replace(Facts.of(model), masks=(some_mask(0.0),) * count).note(model)
    with pytest.raises(GraphError, match="feed-forward"):
        mask_ffn(model)


def test_masks_of_other_sizes_are_refused() -> None:
    model, mask = masked(), some_mask(0.0)
    other = replace(mask, B=e0m4.quantize(np.ones((F + 1, RANK), np.float32), 16))
    replace(Facts.of(model), masks=(other,)).note(model)
    with pytest.raises(GraphError, match="49 neurons"):
        mask_ffn(model)
