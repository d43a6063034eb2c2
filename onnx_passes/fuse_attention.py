"""softmax(scale q k^T + mask) v, or an exporter's Attention  ->  pocket.Attention with a window.

The mask is evaluated and becomes the window; the copies of K and V for every query head are taken
back; guards against rows without any key go. `pocket.Attention` is token-major in q and y;
K and V are [batch, kv_head, total, width].
"""

import onnx_ir as ir

from onnx_passes.analysis.attention import Core, from_op, from_softmax
from onnx_passes.analysis.masks import closed_form
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, attention, check_heads
from onnx_passes.ir.graph import dim
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
    b = Builder(core.last)
    q = b.op("Transpose", core.q, perm=SWAP_HEADS_TOKENS)
    y = attention(model, b, q, core.k, core.v, core.scale, window)
    replace(core.last, b.op("Transpose", y, perm=SWAP_HEADS_TOKENS))
    return True


RULES: Rules = {("", "Softmax"): _spelled, ("", "Attention"): _fused}
