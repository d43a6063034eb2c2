"""com.microsoft.GroupQueryAttention  ->  what it does inside: split heads, turn, extend the caches, attend.

So the ONNX Runtime GenAI builder's graphs reach the same form as spelled-out ones. Semantics: ONNX Runtime's
contrib op; `seqlens_k` must count the mask (all tokens real), which is checked by evaluating it.
"""

import math

import numpy as np
import onnx_ir as ir

from onnx_passes.evaluate import Subgraph
from onnx_passes.fuse_attention import attention
from onnx_passes.fuse_rope import TURN, counters, shape_constant
from onnx_passes.graph import DOMAIN, Builder, Miss, attribute, explain, needed, operand, replace
from onnx_passes.masks import NO_WINDOW
from onnx_passes.roles import roles_of
from onnx_passes.rotary import stored_tables


def split_gqa(model: ir.Model) -> int:
    """Replace every GroupQueryAttention; return how many."""
    count = 0
    for node in list(model.graph):
        if node.op_type != "GroupQueryAttention":
            continue
        try:
            _check_supported(node)
            _check_lengths(model, node)
            _split(model, node)
            count += 1
        except Miss as miss:
            explain(node, miss)
    return count


def _check_supported(node: ir.Node) -> None:
    if attribute(node, "softcap", 0.0) or attribute(node, "smooth_softmax", 0):
        raise Miss("soft-capping and smooth softmax are not supported")
    extra = [i for i in range(9, len(node.inputs)) if node.inputs[i] is not None]
    if extra:
        raise Miss(f"input {extra[0]} (positions, bias, sinks or scales) is not supported")


def _check_lengths(model: ir.Model, node: ir.Node) -> None:
    piece = Subgraph(model, [needed(node, 5), needed(node, 6)], roles_of(model))
    for seq, past in ((1, 0), (4, 3), (1, 6)):
        lengths, total = piece.run(seq, past)
        if np.any(lengths != past + seq - 1) or np.any(total != past + seq):
            raise Miss("its lengths are not those of the mask")


def _split(model: ir.Model, node: ir.Node) -> None:
    heads, groups = attribute(node, "num_heads"), attribute(node, "kv_num_heads")
    b = Builder(node)
    q, k, v = _heads(b, node, heads, groups)
    if attribute(node, "do_rotary", 0):
        tables = stored_tables(model, b, needed(node, 7), needed(node, 8))
        overload = "interleaved" if attribute(node, "rotary_interleaved", 0) else ""
        q, k = (
            b.op("Rope", x, *tables, *counters(model), domain=DOMAIN, overload=overload) for x in (q, k)
        )
    past_k, past_v = needed(node, 3), needed(node, 4)
    present_k, present_v = (
        b.op("Concat", past, b.op("Transpose", new, perm=TURN), axis=2) for past, new in ((past_k, k), (past_v, v))
    )
    width = past_k.shape[3] if past_k.shape is not None else None
    scale = attribute(node, "scale", 0.0) or 1 / math.sqrt(int(width))  # type: ignore[arg-type]
    window = attribute(node, "local_window_size", -1)
    y = attention(model, b, q, present_k, present_v, scale, NO_WINDOW if window <= 0 else window)
    flat = b.op("Reshape", y, b.constant(shape_constant(0, 0, -1)))
    replace(node, flat, present_k, present_v)


def _heads(b: Builder, node: ir.Node, heads: int, groups: int) -> list[ir.Value]:
    """q, k, v as [B, S, heads, width], from one packed input or from three."""
    q = needed(node, 0)
    if operand(node, 1) is not None:
        parts = [q, needed(node, 1), needed(node, 2)]
    else:
        packed = None if q.shape is None else q.shape[-1]
        if not isinstance(packed, int):
            raise Miss("the width of the packed heads is unknown")
        width = packed // (heads + 2 * groups)
        sizes = np.array([heads * width, groups * width, groups * width], np.int64)
        parts = list(b.ops("Split", 3, q, b.constant(sizes), axis=-1))
    counts = (heads, groups, groups)
    return [b.op("Reshape", x, b.constant(shape_constant(0, 0, n, -1))) for x, n in zip(parts, counts, strict=True)]
