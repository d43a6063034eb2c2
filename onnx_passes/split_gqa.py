"""com.microsoft.GroupQueryAttention  ->  what it does: split heads, rotate, extend caches, attend.

So the ONNX Runtime GenAI builder's graphs reach the same form as spelled-out ones. Semantics: ONNX
Runtime's contrib op; `seqlens_k` must count the mask (all tokens real), which is checked by
evaluating it.
"""

import math

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.analysis.tables.rotary import check_positions, stored_tables
from onnx_passes.gqa_scores import Scoring, attended
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, attention, check_heads, rope_by_token
from onnx_passes.ir.graph import (
    DOMAIN,
    attribute,
    check_attributes,
    dim,
    finite,
    needed,
    operand,
)
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply

Lengths = tuple[ir.Value, ir.Value]
_READ = (
    *("num_heads", "kv_num_heads", "do_rotary", "rotary_interleaved", "scale"),
    *("local_window_size", "qk_norm_epsilon", "softcap", "smooth_softmax", "sliding_window_cache"),
)
# What other values would ask for, and the values of the op without it: the first is the default,
# which ONNX Runtime's optimizer writes out.
_USUAL = {
    "qk_output": ("its output of scores", 0),
    "causal": ("attention to later tokens", 1),
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
    positions = operand(node, 9)
    if positions is not None:
        check_positions(model, positions)
    _replace(model, node)
    return True


def _check_supported(node: ir.Node) -> None:
    check_attributes(node, (*_READ, *_USUAL))
    for name, (what, *usual) in _USUAL.items():
        if attribute(node, name, usual[0]) not in usual:
            raise Miss(f"{what} is not supported ({name} {attribute(node, name)})")
    if any(output.uses() for output in node.outputs[3:]):
        raise Miss("its output of scores is not supported")
    if operand(node, 12) is not None or operand(node, 13) is not None or len(node.inputs) > 16:
        raise Miss("its cache has scales, or inputs that are not known")
    if attribute(node, "sliding_window_cache", 0) and attribute(node, "local_window_size", -1) <= 0:
        raise Miss("its cache is as long as a window, and it has none")
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
    tables, b = None, Builder(node)
    if attribute(node, "do_rotary", 0):
        tables = stored_tables(model, b, needed(node, 7), needed(node, 8))
    q, k, v = _heads(b, node, heads, attribute(node, "kv_num_heads"))
    q, k = (_normed(b, node, x, place) for x, place in ((q, 14), (k, 15)))
    if tables is not None:
        interleaved = bool(attribute(node, "rotary_interleaved", 0))
        q, k = (rope_by_token(model, b, x, tables, interleaved) for x in (q, k))
    present_k, present_v = (
        b.op("Concat", past, b.op("Transpose", new, perm=SWAP_HEADS_TOKENS), axis=2)
        for past, new in ((past_k, k), (past_v, v))
    )
    how, kv = _scoring(b, node, width or 1), (present_k, present_v)
    if how.is_plain:
        y = attention(model, b, q, *kv, how.scale, how.window)
    else:
        y = attended(model, b, q, *kv, (heads, attribute(node, "kv_num_heads"), width or 1), how)
    replace(node, b.op("Reshape", y, b.target(0, 0, -1)), present_k, present_v)


def _scoring(b: Builder, node: ir.Node, width: int) -> Scoring:
    window, sink = attribute(node, "local_window_size", -1), operand(node, 11)
    if sink is None and attribute(node, "smooth_softmax", -1) == 1:
        dtype = (needed(node, 0).dtype or ir.DataType.FLOAT).numpy()
        sink = b.constant(np.zeros(attribute(node, "num_heads"), dtype))
    return Scoring(
        attribute(node, "scale", 0.0) or 1 / math.sqrt(width),
        NO_WINDOW if window <= 0 else window,
        finite(attribute(node, "softcap", 0.0), "softcap"),
        operand(node, 10),
        sink,
    )


def _normed(b: Builder, node: ir.Node, x: ir.Value, place: int) -> ir.Value:
    """Queries or keys, normalised where the node has a scale for that."""
    gamma = operand(node, place)
    if gamma is None:
        return x
    eps = attribute(node, "qk_norm_epsilon", 1e-6)
    return b.op("RmsNorm", x, gamma, domain=DOMAIN, eps=finite(eps, "qk_norm_epsilon"))


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
