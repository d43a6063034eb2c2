"""Decoders that no fusion covers: positions, masks and states without inputs, shapes or sines."""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx_ir as ir
import pytest
from any_decoder import CONTEXT, DECODERS, EMBEDDED, PLAIN, decoder, looked_up, places
from pass_helpers import noted, run, text
from tiny_decoder import decoder_text

import onnx_passes
from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.dims import unresolved_dims
from onnx_passes.ir.graph import COUNTERS, TEXT_LENGTH, GraphError

CHUNK = 8
GONE = {"Shape", "Size", "ConstantOfShape", "Range", "CumSum", "Sin", "Cos", "Trilu", "NonZero"}


def given(name: str, **symbols: str) -> ir.Model:
    return text(decoder(name, **symbols))


@cache
def finished(name: str, batch: int = 1) -> ir.Model:
    """A decoder after all passes."""
    return rewritten(given(name), batch)


def rewritten(model: ir.Model, batch: int = 1) -> ir.Model:
    noted(model, CONTEXT, CHUNK, batch)
    for _ in onnx_passes.rewrite(model):
        pass
    return model


def steps(
    original: ir.Model, model: ir.Model, start: Sequence[int], lengths: Sequence[int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Logits of both for a text in pieces, with `start` tokens of padding before each row."""
    batch, past, pairs = len(start), 0, []
    shapes = {v.name: [*(v.shape or ())] for v in original.graph.inputs}
    caches = {x: np.zeros([_number(d, batch) for d in shapes[x]], np.float32)
              for x in ("cache_k", "cache_v")}  # fmt: skip
    states = {f"state.layers.0.{x}": np.zeros((batch, 2, CONTEXT, 8), np.float32) for x in "kv"}
    for v in model.graph.inputs:
        if v.name in states:
            states[v.name] = np.zeros([int(str(d)) for d in v.shape or ()], np.float32)
    for seq in lengths:
        ids = np.random.default_rng(past).integers(0, 40, (batch, seq))
        total, column = past + seq, np.array(start)[:, None]
        inputs = {
            "input_ids": ids,
            "attention_mask": _mask(shapes["attention_mask"], total, column),
            "cache_position": np.arange(past, total),
            **{"at": np.full(batch, past), "count": np.full(batch, total)},
            "position_ids": np.maximum(np.arange(past, total) - column, 0),
            **{"past": np.array([past]), "start": np.array(start), "rows": np.array([seq])},
            "text_length": np.array([0]),
        }
        expected, *new = run(original, {**inputs, **caches})
        actual, *kept = run(model, {**inputs, **states})
        caches = dict(zip(caches, new, strict=True))
        names = [v.name.replace("_out", "") for v in model.graph.outputs[1:] if v.name]
        states = dict(zip(names, kept, strict=True))
        real = np.arange(past, total) >= column
        pairs.append((actual[real], expected[real]))
        past = total
    return pairs


def _mask(shape: list[int | ir.SymbolicDim], total: int, start: np.ndarray) -> np.ndarray:
    """1 where a token is; as long as the cache where that has a fixed size."""
    slots = np.arange(shape[1] if isinstance(shape[1], int) else total)
    return ((slots >= start) & (slots < total)).astype(np.int64)


def _number(dim: int | ir.SymbolicDim, batch: int) -> int:
    return dim if isinstance(dim, int) else batch if dim.value == "B" else 0


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(
    "start",
    [pytest.param((0,), id="alone", marks=pytest.mark.slow), pytest.param((0, 3), id="padded")],
)
def test_says_the_same(name: str, start: Sequence[int]) -> None:
    model = finished(name, len(start))
    for actual, expected in steps(given(name), model, start, (7, 1, 1, 5)):
        np.testing.assert_allclose(actual, expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("name", DECODERS)
def test_nothing_is_left_of_inputs_and_shapes(name: str) -> None:
    model = finished(name)
    names = {"input_ids", "state.layers.0.k", "state.layers.0.v", *COUNTERS}
    names |= {TEXT_LENGTH} if name == "sizes as numbers" else set()
    assert {v.name for v in model.graph.inputs} == names
    assert not GONE & {node.op_type for node in model.graph}
    assert unresolved_dims(model) == []


@pytest.mark.parametrize("name", ["soft-capped scores", "tokens first", "tokens last", "ALiBi"])
def test_what_is_no_attention_reads_the_state_so_far(name: str) -> None:
    model = finished(name)
    ops = [node.op_type for node in model.graph]
    writes = ops.count("KvWrite") == 2 or any(op.endswith("KvWrite") for op in ops)
    assert writes and ops.count("KvRead") == 2 and "Attention" not in ops
    states = [v.shape for v in model.graph.inputs if (v.name or "").startswith("state.")]
    assert states == [[1, 2, CONTEXT, 8]] * 2


def test_attention_reads_a_cache_of_any_order_in_place() -> None:
    ops = [node.op_type for node in finished("tokens first, fused").graph]
    assert "KvRead" not in ops and "Attention" in ops


def test_positions_with_as_many_rows_as_logits_are_told_by_name() -> None:
    model = given("as many positions as tokens")
    onnx_passes.intake(noted(model))
    roles = roles_of(model)
    assert (roles.tokens, roles.positions) == ("input_ids", "position_ids")


@pytest.mark.parametrize("names", [("a", "b"), ("position_ids", "input_ids")])
def test_the_table_with_a_row_for_each_logit_is_that_of_tokens(names: tuple[str, str]) -> None:
    """Whatever the names, misleading ones too."""
    source = decoder_text()
    for old, new in DECODERS["learned positions"]:
        source = source.replace(old, new)
    for old, new in zip(("input_ids", "position_ids"), ("TOKENS", "PLACES_OF"), strict=True):
        source = re.sub(rf"\b{old}\b", new, source)
    source = source.replace("TOKENS", names[0]).replace("PLACES_OF", names[1])
    model = noted(text(source))
    onnx_passes.intake(model)
    assert (roles_of(model).tokens, roles_of(model).positions) == names


def test_positions_that_end_before_the_context_are_refused() -> None:
    changes = (*PLAIN, places(20), looked_up("p = Add(position_ids, i2)  hp = Gather(places, p)"))
    source = decoder_text()
    for old, new in changes:
        source = source.replace(old, new)
    with pytest.raises(GraphError) as caught:
        rewritten(text(source))
    assert "the table places has 20 rows" in caught.value.what
    assert caught.value.hint == "--max-context 18 fits"


def test_embeddings_of_another_file_are_named() -> None:
    source = decoder_text().replace("int64[B, S] input_ids", "float[B, S, 32] inputs_embeds")
    with pytest.raises(GraphError) as caught:
        rewritten(text(source.replace(EMBEDDED, "h = Identity(inputs_embeds)")))
    assert "'inputs_embeds' takes what another file" in caught.value.because


@pytest.mark.parametrize("kind, add", [("bool", False), ("float", True), ("int64", False)])
def test_masks_of_rank_four(kind: str, add: bool) -> None:
    """Booleans and ones where a key is seen; floats are added to the scores."""
    source = decoder_text(mask_type=kind).replace(
        "[B, T] attention_mask", "[B, 1, S, T] attention_mask"
    )
    made = "real0 = Cast<to = 9>(attention_mask)  real1 = Unsqueeze(real0, v1)"
    source = source.replace(made, "real = Cast<to = 9>(attention_mask)")
    source = source.replace("real = Unsqueeze(real1, v2)", "")
    bias = "seen = And(causal, real)  bias = Where(seen, fzero, low)"
    source = source.replace(bias, "bias = Identity(attention_mask)" if add else
                            "bias = Where(real, fzero, low)")  # fmt: skip
    plain, model = text(source), rewritten(text(source), 2)
    rows = np.arange(5) >= np.array([0, 2])[:, None]
    seen = (np.tril(np.ones((5, 5), bool)) & rows[:, None])[:, None]
    mask = np.where(seen, 0, -1e9).astype(np.float32) if add else seen.astype(kind)
    ids = np.random.default_rng(0).integers(0, 40, (2, 5))
    at = np.maximum(np.arange(5) - np.array([0, 2])[:, None], 0)
    empty = np.zeros((2, 2, 0, 8), np.float32)
    caches = {"cache_k": empty, "cache_v": empty}
    expected, *_ = run(
        plain, {"input_ids": ids, "attention_mask": mask, "position_ids": at, **caches}
    )
    state = np.zeros((2, 2, CONTEXT, 8), np.float32)
    counters = {"past": np.array([0]), "start": np.array([0, 2]), "rows": np.array([5])}
    states = {f"state.layers.0.{x}": state for x in "kv"}
    actual, *_ = run(model, {"input_ids": ids, **counters, **states})
    np.testing.assert_allclose(actual[rows], expected[rows], rtol=2e-4, atol=2e-4)
