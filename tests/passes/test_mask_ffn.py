"""A masked network leaves out what its predictor says, where one position is fed, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import run
from tiny_decoder import feeds, tiny

from onnx_passes import Facts, GraphError, mask_ffn, rewrite
from onnx_passes.analysis.ffn import find_ffns
from onnx_passes.ir.facts import Density, Mask
from onnx_passes.ir.graph import attribute, needed
from onnx_passes.ir.infer import infer
from onnx_passes.mask_ffn import count_of, split
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


def thinned(*densities: Density, unit: tuple[str, str] = RELU, cached: Array | None = None) -> Any:
    """The tiny decoder after all passes, computed in part."""
    model = tiny(unit)
    near = () if cached is None else (cached, np.ones(F, bool))
    replace(Facts.of(model), densities=densities, cached=near).note(model)
    for _ in rewrite(model):
        pass
    return model


@pytest.mark.parametrize("unit", [RELU, (GATED, drelu("up"))])
def test_what_is_greatest_is_computed(unit: tuple[str, str]) -> None:
    """Of one position; a network is found again with its masks."""
    model = thinned(Density(0.5), unit=unit)
    [ffn], [plain] = find_ffns(model)[0], find_ffns(masked(unit=unit))[0]
    assert [attribute(top, "k") for top in ffn.tops] == [18, 16]
    assert (ffn.x.name, ffn.width, ffn.depth) == (plain.x.name, plain.width, plain.depth)
    assert ffn.act == plain.act and set(ffn.entering) <= set(ffn.nodes) and not ffn.scores
    [read_by] = {needed(each.product, 0) for each in ffn.columns}
    model.graph.outputs.extend([ffn.x, read_by, needed(ffn.tops[1], 0), ffn.hidden])
    for seq in (1, 3):
        known = {v.name for v in model.graph.inputs}
        found = run(model, {name: x for name, x in feeds(seq).items() if name in known})
        pairs = zip(found[-4::2], found[-3::2], (18, 16), strict=True)
        for whole, left, k in pairs:
            least = np.sort(np.abs(whole).reshape(-1))[-k] if seq == 1 else 0
            np.testing.assert_array_equal(left, np.where(np.abs(whole) >= least, whole, 0))
            assert seq > 1 or (left != 0).sum() <= k < (whole != 0).size


def test_what_lies_in_memory_is_preferred() -> None:
    cached = np.arange(D) % 2 == 0
    model = thinned(Density(0.5, gamma=0.0), cached=cached)
    [ffn] = find_ffns(model)[0]
    assert {top.overload for top in ffn.tops} == {"cached"}
    model.graph.outputs.append(needed(ffn.up.product, 0))
    known = {v.name for v in model.graph.inputs}
    read = run(model, {name: x for name, x in feeds(1).items() if name in known})[-1].reshape(-1)
    assert (read[cached] != 0).all() and (read[~cached] != 0).sum() <= 2


def test_a_density_of_another_number_of_networks_is_refused() -> None:
    with pytest.raises(GraphError, match="2 feed-forward networks"):
        thinned(Density(0.5), Density(0.6))


@pytest.mark.parametrize(
    "share, sizes, wanted",
    [  # what DIP's authors' code makes of 0.5 and 0.7
        (0.5, (4096, 14336), (2352, 5035)),
        (0.5, (5120, 17920), (2940, 6294)),
        (0.5, (3072, 8192), (1764, 2877)),
        (0.5, (2048, 5632), (1176, 1978)),
        (0.5, (64, 172), (36, 60)),
        (0.7, (4096, 14336), (3099, 8411)),
        (0.7, (5120, 17920), (3873, 10514)),
        (1.0, (64, 172), (64, 172)),
        (0.001, (64, 172), (1, 1)),
    ],
)
def test_the_split_is_that_of_its_authors(
    share: float, sizes: tuple[int, int], wanted: tuple[int, int]
) -> None:
    found = (count_of(s, n) for s, n in zip(split(share, True), sizes, strict=True))
    assert tuple(found) == wanted
    assert split(share, False) == (share, share)
