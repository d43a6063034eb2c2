"""A refitted network is the one whose last matrix has been changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import run
from tiny_decoder import feeds, tiny

from onnx_passes import Facts, GraphError, rewrite
from onnx_passes.analysis.ffn import find_ffns
from onnx_passes.ir.graph import needed
from onnx_passes.refit_ffn import refit_ffn
from onnx_passes.weights.lazy import part
from opencl_kernels.formats import Array

D, F = 32, 48


def refitted(*refits: Callable[[], Array], weights: str = "source") -> ir.Model:
    model = tiny()
    replace(Facts.of(model), refits=refits, weights=weights).note(model)
    for _ in rewrite(model):
        pass
    return model


def some(rows: int = F) -> Array:
    return np.random.default_rng(2).normal(size=(rows, D)).astype(np.float32)


def test_its_matrix_is_the_sum() -> None:
    found, plain = (find_ffns(model)[0][0] for model in (refitted(some), refitted()))
    tensor, own = (needed(ffn.down, 1).const_value for ffn in (found, plain))
    assert tensor is not None and own is not None
    wanted = own.numpy() + some()
    np.testing.assert_array_equal(tensor.numpy(), wanted)
    np.testing.assert_array_equal(part(tensor, 0, 7, 9), wanted[7:9])
    np.testing.assert_array_equal(part(tensor, 1, 1, 8), wanted[:, 1:8])


def test_it_computes_so_with_codes_too() -> None:
    outputs = [run(model, feeds(3))[0] for model in (refitted(some), refitted(), _summed())]
    np.testing.assert_allclose(outputs[0], outputs[2], rtol=1e-5, atol=1e-5)
    assert np.abs(outputs[0] - outputs[1]).max() > 1e-2
    coded = run(refitted(some, weights="e0m4"), feeds(3))[0]
    other = run(refitted(weights="e0m4"), feeds(3))[0]
    assert np.linalg.norm(coded - outputs[2]) < 0.5 * np.linalg.norm(other - outputs[2])


@pytest.mark.parametrize(
    "refits, says", [((some, some), "2 feed-forward networks"), ((lambda: some(7),), "7 x 32")]
)
def test_of_another_model_it_is_refused(refits: tuple[Callable[[], Array], ...], says: str) -> None:
    with pytest.raises(GraphError, match=says):
        refitted(*refits)


def _summed() -> ir.Model:
    """The matrix changed by hand, behind all passes."""
    model = refitted()
    weight = needed(find_ffns(model)[0][0].down, 1)
    assert weight.const_value is not None and refit_ffn(model).rewrites == 0
    weight.const_value = ir.tensor(weight.const_value.numpy() + some(), name=weight.name)
    return model
