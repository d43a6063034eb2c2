"""softmax(scale q k^T + mask) v, or an exporter's Attention  ->  pocket.Attention with a window.

The mask is evaluated and becomes the window; the copies of K and V for every query head are taken
back; guards against rows without any key go. `pocket.Attention` is token-major in q and y;
K and V are [batch, kv_head, total, width].
"""

import math

import onnx_ir as ir

from onnx_passes.analysis.attention import Core, from_op, from_softmax, unscaled
from onnx_passes.analysis.heads.moves import moves
from onnx_passes.analysis.masks import closed_form
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, attention, check_heads
from onnx_passes.ir.graph import dim, is_op, needed
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply


def fuse_attention(model: ir.Model) -> Outcome:
    """Replace every spelled-out attention and every ONNX Attention node."""
    return apply(model, RULES)


def _spelled(model: ir.Model, node: ir.Node) -> bool:
    return _replace(model, from_softmax(node))


def _fused(model: ir.Model, node: ir.Node) -> bool:
    return _replace(model, from_op(node))


def _replace(model: ir.Model, core: Core) -> bool:
    if core.mask is None:
        raise Miss("it has no mask: a decoder's attention is causal")
    window = closed_form(model, core.mask)
    check_heads(dim(core.q, 1), dim(core.q, 3), core.k, core.v)
    queries, factor = _unscaled_heads(core.q)
    scale = core.scale * factor
    b = Builder(core.last)
    q = b.op("Transpose", queries, perm=SWAP_HEADS_TOKENS)
    y = attention(model, b, q, core.k, core.v, scale, window)
    replace(core.last, b.op("Transpose", y, perm=SWAP_HEADS_TOKENS))
    return True


def _unscaled_heads(q: ir.Value) -> tuple[ir.Value, float]:
    """The queries without the constant that they are multiplied by before they move or turn.

    And that constant; 1 where something else reads what it scales.
    """
    value = q
    while (node := _maker(value)) is not None and (moves(node) or is_op(node, "Rope")):
        value = needed(node, 0)
    node, (source, factor) = _maker(value), unscaled(value)
    same = source.dtype == value.dtype and math.isfinite(factor)
    if node is None or not is_op(node, "Mul", "Div") or not same:
        return q, 1.0
    replace(node, source)
    return (source if value is q else q), factor


def _maker(value: ir.Value) -> ir.Node | None:
    """The node that makes a value which is read once."""
    return value.producer() if len(value.uses()) == 1 and not value.is_graph_output() else None


RULES: Rules = {("", "Softmax"): _spelled, ("", "Attention"): _fused}
