"""Batch, sequence and past lengths that an export fixes: declared only, or in its constants."""

from dataclasses import replace

import onnx_ir as ir
import pytest
from tiny_decoder import tiny

import onnx_passes
from onnx_passes import Facts
from onnx_passes.analysis.fixed_sizes import fixed_sizes
from onnx_passes.ir.dims import unresolved_dims
from onnx_passes.ir.graph import GraphError


def left(model: ir.Model) -> list[str]:
    """The ops after all passes."""
    for _ in onnx_passes.rewrite(model):
        pass
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize(
    "change, said",
    [
        ({"B": "1"}, ""),
        ({"S": "8"}, "input_ids […, 8], position_ids […, 8]"),
        ({"B": "1", "P": "16"}, "cache_k [1, 2, 16, 8]"),
        (
            {"B": "1", "S": "8", "T": "8"},
            "input_ids [1, 8], attention_mask [1, 8], position_ids [1, 8]",
        ),
        ({"T": "24"}, "attention_mask […, 24]"),
        ({"B": "1", "P": "0"}, "cache_k [1, 2, 0, 8]"),
    ],
)
def test_a_graph_that_computes_its_sizes_serves_all(change: dict[str, str], said: str) -> None:
    plain, model = tiny(), tiny(**change)
    assert left(model) == left(plain)
    assert unresolved_dims(model) == []
    assert fixed_sizes(model) == said


def test_so_it_does_for_another_batch() -> None:
    model = tiny(B="2")
    assert left(model) == left(tiny())
    assert "input_ids [2, …]" in fixed_sizes(model)


BATCH = ("ub = Unsqueeze(batch, v0)", "ub = Identity(v2)")


def batched(batch: int, **change: str) -> ir.Model:
    model = tiny(BATCH, **change)
    replace(Facts.of(model), batch=batch).note(model)
    return model


def test_sizes_in_constants_are_named() -> None:
    with pytest.raises(GraphError) as caught:
        left(batched(1, B="2"))
    error = caught.value
    assert error.what.startswith("the model is exported for fixed sizes: input_ids [2, …]")
    assert error.because and "dynamic axes" in error.hint


def test_the_batch_that_is_in_constants_is_compiled() -> None:
    assert left(batched(2, B="2")) == left(tiny())


def test_sizes_that_contradict_each_other_although_none_is_fixed() -> None:
    with pytest.raises(GraphError, match="do not fit together"):
        left(batched(1))
