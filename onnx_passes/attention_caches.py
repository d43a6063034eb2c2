"""ONNX's Attention over a cache  ->  caches extended by Concat, and the op on all keys and values.

So a cache has one spelling. The op's own causality, which counts from the cache's end, becomes part
of the mask; heads merged into one dimension are split. Where the cache is extended before the op,
`nonpad_kv_seqlen` says how many keys there are: all. (ONNX, Attention-23 and later.)
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.analysis.roles import roles_of
from onnx_passes.analysis.subgraph import holds_number
from onnx_passes.count_inputs import CLOSED
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, places
from onnx_passes.ir.graph import (
    DOMAIN,
    attribute,
    check_attributes,
    dim,
    needed,
    operand,
    producer,
    rank,
)
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply

TOTAL = ir.SymbolicDim("past") + ir.SymbolicDim("seq")
_KEPT = ("scale", "softcap", "softmax_precision")
_MERGED = ("is_causal", "q_num_heads", "kv_num_heads", "qk_matmul_output_mode")


def attention_caches(model: ir.Model) -> Outcome:
    """Take the caches out of every Attention."""
    return apply(model, RULES)


def _extended(model: ir.Model, node: ir.Node) -> bool:
    pasts = operand(node, 4), operand(node, 5)
    if None in pasts and operand(node, 6) is None:
        return False
    if None in pasts:
        _check_sees_all(model, node)
    check_attributes(node, (*_KEPT, *_MERGED), left_window_size=-1, right_window_size=-1)
    if any(output.uses() for output in node.outputs[3:]):
        raise Miss("its output of scores is read")
    b = Builder(node)
    q, k, v = (_by_head(b, node, i) for i in range(3))
    if None not in pasts:
        k, v = (b.op("Concat", p, x, axis=2) for p, x in zip(pasts, (k, v), strict=True))
    kept = {name: node.attributes[name].value for name in _KEPT if name in node.attributes}
    y = b.op("Attention", q, k, v, _mask(model, b, node), **kept)
    if rank(node.inputs[0]) == 3:
        by_token = b.op("Transpose", y, perm=SWAP_HEADS_TOKENS)
        y = b.op("Reshape", by_token, b.target(0, 0, -1))
    replace(node, y, k, v)
    return True


def _check_sees_all(model: ir.Model, node: ir.Node) -> None:
    """A Miss unless the op is told of as many keys as there are, all that are cached."""
    keys, counted = needed(node, 1), needed(node, 6)
    tokens = None if keys.shape is None else keys.shape[2 if rank(keys) == 4 else 1]
    if tokens != TOTAL or not holds_number(model, counted, lambda seq, past: past + seq):
        raise Miss("nonpad_kv_seqlen does not count the tokens of a cache")


def _by_head(b: Builder, node: ir.Node, index: int) -> ir.Value:
    """[batch, heads, tokens, width] of q, k or v."""
    x = needed(node, index)
    if rank(x) == 4:
        return x
    heads = attribute(node, "kv_num_heads" if index else "q_num_heads", 0)
    if rank(x) != 3 or not heads:
        raise Miss("its numbers of heads are not given")
    merged = producer(x, "Reshape")
    if merged is not None and rank(merged.inputs[0]) == 4 and dim(merged.inputs[0], 2) == heads:
        return b.op("Transpose", merged.inputs[0], perm=SWAP_HEADS_TOKENS)
    return b.op("Transpose", b.op("Reshape", x, b.target(0, 0, heads, -1)), perm=SWAP_HEADS_TOKENS)


def _mask(model: ir.Model, b: Builder, node: ir.Node) -> ir.Value | None:
    mask = operand(node, 3)
    if not attribute(node, "is_causal", 0):
        return mask
    padded = mask is None  # else the mask tells what is padding
    counts = places(model, b, roles_of(model).tokens, padded)
    causal = b.op("CausalMask", *counts, domain=DOMAIN, window=NO_WINDOW)
    if mask is None:
        return causal
    if mask.dtype == ir.DataType.BOOL:
        return b.op("And", mask, causal)
    hidden = b.constant(np.array(CLOSED, (mask.dtype or ir.DataType.FLOAT).numpy()))
    return b.op("Where", causal, mask, hidden)


RULES: Rules = {("", "Attention"): _extended}
