"""com.microsoft.GroupQueryAttention  ->  what it does: split heads, rotate, extend caches, attend.

So the ONNX Runtime GenAI builder's graphs reach the same form as spelled-out ones. Semantics: ONNX
Runtime's contrib op; `seqlens_k` must count the mask (all tokens real), which is checked by
evaluating it.
"""

import math

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.analysis.rotary import stored_tables
from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, attention, check_heads, rope_by_token
from onnx_passes.ir.graph import attribute, check_attributes, dim, needed, operand
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply

Lengths = tuple[ir.Value, ir.Value]
_READ = (
    *("num_heads", "kv_num_heads", "do_rotary", "rotary_interleaved", "scale"),
    *("local_window_size", "qk_norm_epsilon"),
)
# What other values would ask for, and the values of the op without it: the first is the default,
# which ONNX Runtime's optimizer writes out.
_USUAL = {
    "softcap": ("soft-capping", 0.0),
    "smooth_softmax": ("smooth softmax", -1, 0),
    "qk_output": ("its output of scores", 0),
    "causal": ("attention to later tokens", 1),
    "sliding_window_cache": ("a cache as long as its window", 0),
    "kv_cache_bit_width": ("a quantised cache", 0),
    "k_quant_type": ("a quantised cache", "NONE"),
    "v_quant_type": ("a quantised cache", "NONE"),
}


def split_gqa(model: ir.Model) -> Outcome:
    """Replace every GroupQueryAttention."""
    return apply(model, RULES)


def _split(model: ir.Model, node: ir.Node) -> bool:
    _check_supported(node)
    _check_lengths(model, (needed(node, 5), needed(node, 6)))
    _replace(model, node)
    return True


def _check_supported(node: ir.Node) -> None:
    check_attributes(node, (*_READ, *_USUAL))
    for name, (what, *usual) in _USUAL.items():
        if attribute(node, name, usual[0]) not in usual:
            raise Miss(f"{what} is not supported ({name} {attribute(node, name)})")
    if any(output.uses() for output in node.outputs[3:]):
        raise Miss("its output of scores is not supported")
    extra = [i for i in range(9, len(node.inputs)) if node.inputs[i] is not None]
    if extra:
        raise Miss(f"input {extra[0]} (positions, bias, sinks or scales) is not supported")
    if not attribute(node, "num_heads", 0) or not attribute(node, "kv_num_heads", 0):
        raise Miss("its numbers of heads are not given")


def _check_lengths(model: ir.Model, lengths: Lengths) -> None:
    """A Miss unless seqlens_k is past + seq - 1 and the total past + seq."""
    known: set[Lengths] = model.graph.meta.setdefault("pocket_lengths", set())
    if lengths in known:  # all layers share them
        return
    piece = Subgraph(model, lengths)
    for seq, past in ((1, 0), (4, 3), (1, 6)):
        last, total = piece.run(seq, past)
        if np.any(last != past + seq - 1) or np.any(total != past + seq):
            raise Miss("its lengths are not those of the mask")
    known.add(lengths)


def _replace(model: ir.Model, node: ir.Node) -> None:
    heads, past_k, past_v = attribute(node, "num_heads"), needed(node, 3), needed(node, 4)
    width = dim(past_k, 3)
    check_heads(heads, width, past_k, past_v)
    tables = None
    if attribute(node, "do_rotary", 0):
        tables = stored_tables(model, needed(node, 7), needed(node, 8))
    b = Builder(node)
    q, k, v = _heads(b, node, heads, attribute(node, "kv_num_heads"))
    if tables is not None:
        interleaved = bool(attribute(node, "rotary_interleaved", 0))
        q, k = (rope_by_token(model, b, x, tables, interleaved) for x in (q, k))
    present_k, present_v = (
        b.op("Concat", past, b.op("Transpose", new, perm=SWAP_HEADS_TOKENS), axis=2)
        for past, new in ((past_k, k), (past_v, v))
    )
    scale = attribute(node, "scale", 0.0) or 1 / math.sqrt(width or 1)
    window = attribute(node, "local_window_size", -1)
    window = NO_WINDOW if window <= 0 else window
    y = attention(model, b, q, present_k, present_v, scale, window)
    replace(node, b.op("Reshape", y, b.target(0, 0, -1)), present_k, present_v)


def _heads(b: Builder, node: ir.Node, heads: int, groups: int) -> list[ir.Value]:
    """q, k, v as [B, S, heads, width], from one packed input or from three."""
    parts = [needed(node, 0)]
    if operand(node, 1) is not None:
        parts += [needed(node, 1), needed(node, 2)]
    else:
        packed = dim(parts[0], -1)
        if packed is None:
            raise Miss("the width of the packed heads is unknown")
        width = packed // (heads + 2 * groups)
        sizes = np.array([heads * width, groups * width, groups * width], np.int64)
        parts = list(b.ops("Split", 3, parts[0], b.constant(sizes), axis=-1))
    counts = (heads, groups, groups)
    return [b.op("Reshape", x, b.target(0, 0, n, -1)) for x, n in zip(parts, counts, strict=True)]


RULES: Rules = {("com.microsoft", "GroupQueryAttention"): _split}
