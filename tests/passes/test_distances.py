"""Biases that are looked up by how far a key is from a query: a column of a table for each."""

import numpy as np
import onnx_ir as ir
import pytest
from any_decoder import BUCKETS, CONTEXT, DISTANCES, PLAIN, decoder
from pass_helpers import noted, run, text
from tiny_decoder import decoder_text

import onnx_passes
from onnx_passes.ir.graph import attribute, constant

CHUNK = 8
NAME = "buckets of distances"
# Buckets of keys on both sides, as encoders have them; and of where a key and a query stand.
SPELLINGS = {
    "one side": ("", ""),
    "both sides": ("d1 = Min(d0, i0)  d2 = Neg(d1)", "d2 = Abs(d0)"),
    "more dimensions": (
        "bucket = Where(near, d2, far)  b0 = Gather(buckets, bucket)",
        "bucket0 = Where(near, d2, far)  bucket = Unsqueeze(bucket0, v0)"
        "  bb = Gather(buckets, bucket)  b0 = Squeeze(bb, v0)",
    ),
    "places": ("d0 = Sub(cols, at)", "sum = Add(cols, at)  d0 = Neg(sum)"),
}


def given(spelling: str) -> ir.Model:
    source = decoder_text()
    for old, new in (*PLAIN, BUCKETS, DISTANCES, SPELLINGS[spelling]):
        source = source.replace(old, new)
    return text(source)


def rewritten(spelling: str) -> ir.Model:
    model = noted(given(spelling), CONTEXT, CHUNK)
    for _ in onnx_passes.rewrite(model):
        pass
    return model


def logits(model: ir.Model, seq: int, past: int) -> np.ndarray:
    """Of `seq` tokens after as many random ones as are cached."""
    random, total = np.random.default_rng(seq), past + seq
    caches = random.standard_normal((2, 1, 2, past, 8)).astype(np.float32)
    state = np.zeros((2, 1, 2, CONTEXT, 8), np.float32)
    state[:, :, :, :past] = caches
    found, *_ = run(
        model,
        {
            "input_ids": random.integers(0, 40, (1, seq)),
            "attention_mask": np.ones((1, total), np.int64),
            "position_ids": np.arange(past, total)[None],
            **dict(zip(("cache_k", "cache_v"), caches, strict=True)),
            **dict(zip(("state.layers.0.k", "state.layers.0.v"), state, strict=True)),
            **{"past": np.array([past]), "start": np.array([0]), "rows": np.array([seq])},
        },
    )
    return found


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(("seq", "past"), [(1, 0), (7, 0), (5, 13), (1, CONTEXT - 1)])
def test_says_the_same(spelling: str, seq: int, past: int) -> None:
    model, found = given(spelling), logits(rewritten(spelling), seq, past)
    np.testing.assert_allclose(found, logits(model, seq, past), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_logarithm_is_left_where_distances_tell_all(spelling: str) -> None:
    nodes = [*rewritten(spelling).graph]
    by_distance = "Distances" in {node.op_type for node in nodes}
    assert (by_distance, "Log" in {n.op_type for n in nodes}) == (
        (False, True) if spelling == "places" else (True, False)
    )


def test_the_table_has_a_column_for_every_distance() -> None:
    model = rewritten("one side")
    lookups = (node for node in model.graph if node.op_type == "Gather")
    (lookup,) = (node for node in lookups if attribute(node, "axis", 0) == 1)
    table = constant(lookup.inputs[0])
    assert table is not None and table.shape == (4, CONTEXT + CHUNK - 1)
    rows = constant(next(v for v in text(decoder(NAME)).graph.initializers.values()
                         if v.name == "buckets"))  # fmt: skip
    assert rows is not None
    distance = CONTEXT - 1 - np.arange(CONTEXT + CHUNK - 1)
    near = np.maximum(distance[distance < 4], 0)
    np.testing.assert_array_equal(table[:, distance < 4], rows[near].T)
