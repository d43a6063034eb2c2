"""ONNX's Attention over a cache: what it extends, its causality and its heads are spelled out."""

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import decoder, missed, op_types, same_outputs

from onnx_passes.attention_caches import attention_caches

HEAD = """<ir_version: 10, opset_import: ["": 24]>
before (int64[1, seq] tokens, %(kind)s[1, 1, seq, total] bias,
  float[1, seq, 32] q3, float[1, seq, 16] k3, float[1, seq, 16] v3,
  float[1, 4, seq, 8] q4, float[1, 2, seq, 8] k4, float[1, 2, seq, 8] v4,
  float[1, 2, past, 8] past_k, float[1, 2, past, 8] past_v)
  => (float[%(y)s] y, float[1, 2, total, 8] present_k, float[1, 2, total, 8] present_v)
{ y, present_k, present_v = Attention<%(attributes)s>(%(operands)s, past_k, past_v) }"""
MERGED = {
    "y": "1, seq, 32",
    "operands": "q3, k3, v3, %s",
    "heads": "q_num_heads = 4, kv_num_heads = 2, ",
}
APART = {"y": "1, 4, seq, 8", "operands": "q4, k4, v4, %s", "heads": ""}


def model(parts: dict[str, str], mask: str, attributes: str, kind: str = "float") -> ir.Model:
    operands = parts["operands"] % mask
    source = HEAD % {**parts, "kind": kind, "operands": operands,
                     "attributes": parts["heads"] + attributes}  # fmt: skip
    return decoder(source)


@pytest.mark.parametrize("parts", (MERGED, APART), ids=("merged", "apart"))
@pytest.mark.parametrize("causal", (0, 1))
@pytest.mark.parametrize("mask, kind", (("", "float"), ("bias", "float"), ("bias", "bool")))
@pytest.mark.parametrize("past, seq", ((0, 5), (3, 1), (4, 3)))
def test_keeps_the_values(
    parts: dict[str, str], causal: int, mask: str, kind: str, past: int, seq: int
) -> None:
    given = model(parts, mask, f"scale = 0.3, is_causal = {causal}", kind)
    random = np.random.default_rng(past)
    bias = random.standard_normal((1, 1, seq, past + seq)).astype(np.float32)
    if kind == "bool":
        bias = (bias > 0) | np.eye(seq, past + seq, past, dtype=bool)
    feeds = {"bias": bias, "past": np.array([past]), "start": np.array([0])}
    with same_outputs(given, feeds, past=past, seq=seq, rows=seq):
        assert attention_caches(given).rewrites == 1
    node = next(node for node in given.graph if node.op_type == "Attention")
    assert len(node.inputs) <= 4 and "is_causal" not in node.attributes
    assert op_types(given).count("Concat") == 2


@pytest.mark.parametrize("mask, hides", [("", True), ("bias", False)])
def test_padding_is_hidden_by_the_mask_or_where_there_is_none(mask: str, hides: bool) -> None:
    given = model(APART, mask, "is_causal = 1")
    assert attention_caches(given).rewrites == 1
    causal = next(node for node in given.graph if node.op_type == "CausalMask")
    assert (causal.inputs[2] is next(v for v in given.graph.inputs if v.name == "start")) == hides


def test_a_window_counts_from_elsewhere() -> None:
    given = model(APART, "bias", "left_window_size = 3")
    given.graph.opset_imports[""] = 25
    count, reasons = missed(attention_caches, given)
    assert count == 0 and "left_window_size = 3 is not supported" in reasons[0]
