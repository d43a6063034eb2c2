"""Caches of fixed size that new tokens are scattered into keep it, or are refused in words."""

import re
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from any_decoder import CONTEXT, SCATTERED_ELEMENTS, SCATTERED_ROWS, scattered
from pass_helpers import noted, run, text
from tiny_decoder import decoder_text

import onnx_passes
import toolkit
from onnx_passes.ir.graph import GraphError
from toolkit.errors import PocketError

MASKED = "real0 = Cast<to = 9>(attention_mask)  real1 = Unsqueeze(real0, v1)"
WHOLE = (  # a mask for every query and slot
    (MASKED, ""),
    ("real = Unsqueeze(real1, v2)  seen = And(causal, real)",
     "seen = Cast<to = 9>(attention_mask)"),
)  # fmt: skip


def changed(writes: str = SCATTERED_ROWS, whole_mask: bool = False) -> str:
    source = decoder_text()
    changes = scattered(writes, "B, 1, S, {n}") if whole_mask else scattered(writes)
    for old, new in (*changes, *(WHOLE if whole_mask else ())):
        assert old in source, old
        source = source.replace(old, new)
    return source


def rewritten(source: str, context: int = CONTEXT) -> ir.Model:
    model = noted(text(source), context, 8)
    for _ in onnx_passes.rewrite(model):
        pass
    return model


def test_a_state_keeps_the_exporters_size_whatever_the_context() -> None:
    for context in (CONTEXT, 11):
        graph = rewritten(changed(), context).graph
        states = [v.shape for v in graph.inputs if (v.name or "").startswith("state.")]
        assert states == [[1, 2, CONTEXT, 8]] * 2
        ops = {node.op_type for node in graph}
        assert not ops & {"ScatterND", "ScatterElements", "KvRead", "Concat"}


@pytest.mark.parametrize(("seq", "past"), [(1, 0), (7, 0), (5, 13), (1, CONTEXT - 1)])
def test_a_mask_of_queries_and_slots(seq: int, past: int) -> None:
    source, random = changed(whole_mask=True), np.random.default_rng(seq)
    caches = np.zeros((2, 1, 2, CONTEXT, 8), np.float32)
    caches[:, :, :, :past] = random.standard_normal((2, 1, 2, past, 8))
    slot, own = np.arange(CONTEXT), np.arange(past, past + seq)
    feeds = {
        "input_ids": random.integers(0, 40, (1, seq)),
        "attention_mask": (slot <= own[:, None]).astype(np.int64)[None, None],
        **{"position_ids": own[None], "cache_position": own},
        **dict(zip(("cache_k", "cache_v"), caches, strict=True)),
        **dict(zip(("state.layers.0.k", "state.layers.0.v"), caches, strict=True)),
        **{"past": np.array([past]), "start": np.array([0]), "rows": np.array([seq])},
    }
    expected, *_ = run(text(source), feeds)
    found, *_ = run(rewritten(source), feeds)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


def test_a_longer_context_than_the_caches_have_room_for() -> None:
    with pytest.raises(GraphError) as caught:
        rewritten(changed(), CONTEXT + 1)
    assert caught.value.what == f"the caches have room for {CONTEXT} tokens"
    assert "ScatterND" in caught.value.because and "[32,1,2,8]" in caught.value.because
    assert caught.value.hint == f"--max-context {CONTEXT} fits"


STRANGE = {
    "one place on": ("rows = Unsqueeze(cache_position, v1)",
                     "cp = Add(cache_position, i1)  rows = Unsqueeze(cp, v1)"),
    "sums": ("ScatterND(", 'ScatterND<reduction = "add">('),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGE)
def test_other_writes_are_refused_with_node_shape_cause_and_remedy(
    tmp_path: Path, name: str
) -> None:
    ir.save(text(changed(SCATTERED_ROWS.replace(*STRANGE[name]))), tmp_path / "model.onnx")
    with pytest.raises(PocketError) as caught:
        toolkit.compile(tmp_path / "model.onnx", tmp_path / "x.plan", max_context=CONTEXT)
    error = caught.value
    assert re.fullmatch(r"the cache cache_k \[.*32.*\] cannot be .* by ScatterND \w+", error.what)
    reason = "elsewhere than behind what is cached" if name == "one place on" else "reduction add"
    assert reason in str(error.because) and "DynamicCache" in (error.hint or "")
    assert not (tmp_path / "x.plan").exists()


def test_elements_beside_the_tokens_are_no_new_tokens() -> None:
    """Indices along another axis than that of the slots."""
    source = changed(SCATTERED_ELEMENTS.replace("<axis = 2>(cache_k", "<axis = 3>(cache_k"))
    graph = rewritten(source).graph
    assert "cache_k" in {value.name for value in graph.inputs}
