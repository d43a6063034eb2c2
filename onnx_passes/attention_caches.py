"""ONNX's Attention over a cache  ->  caches extended by Concat, and the op on all keys and values.

So a cache has one spelling. The op's own causality, which counts from the cache's end, becomes part
of the mask; heads merged into one dimension are split. (ONNX, Attention-23 and later.)
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.analysis.roles import roles_of
from onnx_passes.count_inputs import CLOSED
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, places
from onnx_passes.ir.graph import DOMAIN, attribute, check_attributes, needed, operand, rank
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply

_KEPT = ("scale", "softcap", "softmax_precision")
_MERGED = ("is_causal", "q_num_heads", "kv_num_heads", "qk_matmul_output_mode")


def attention_caches(model: ir.Model) -> Outcome:
    """Take the caches out of every Attention."""
    return apply(model, RULES)


def _extended(model: ir.Model, node: ir.Node) -> bool:
    pasts = operand(node, 4), operand(node, 5)
    if None in pasts:
        return False
    check_attributes(node, (*_KEPT, *_MERGED), left_window_size=-1, right_window_size=-1)
    if any(output.uses() for output in node.outputs[3:]):
        raise Miss("its output of scores is read")
    b = Builder(node)
    q, *new = (_by_head(b, node, i) for i in range(3))
    k, v = (b.op("Concat", p, x, axis=2) for p, x in zip(pasts, new, strict=True))
    kept = {name: node.attributes[name].value for name in _KEPT if name in node.attributes}
    y = b.op("Attention", q, k, v, _mask(model, b, node), **kept)
    if rank(node.inputs[0]) == 3:
        by_token = b.op("Transpose", y, perm=SWAP_HEADS_TOKENS)
        y = b.op("Reshape", by_token, b.target(0, 0, -1))
    replace(node, y, k, v)
    return True


def _by_head(b: Builder, node: ir.Node, index: int) -> ir.Value:
    """[batch, heads, tokens, width] of q, k or v."""
    x = needed(node, index)
    if rank(x) == 4:
        return x
    heads = attribute(node, "kv_num_heads" if index else "q_num_heads", 0)
    if rank(x) != 3 or not heads:
        raise Miss("its numbers of heads are not given")
    return b.op("Transpose", b.op("Reshape", x, b.target(0, 0, heads, -1)), perm=SWAP_HEADS_TOKENS)


def _mask(model: ir.Model, b: Builder, node: ir.Node) -> ir.Value | None:
    mask = operand(node, 3)
    if not attribute(node, "is_causal", 0):
        return mask
    counts = places(model, b, roles_of(model).tokens, padded=False)
    causal = b.op("CausalMask", *counts, domain=DOMAIN, window=NO_WINDOW)
    if mask is None:
        return causal
    if mask.dtype == ir.DataType.BOOL:
        return b.op("And", mask, causal)
    hidden = b.constant(np.array(CLOSED, (mask.dtype or ir.DataType.FLOAT).numpy()))
    return b.op("Where", causal, mask, hidden)


RULES: Rules = {("", "Attention"): _extended}
