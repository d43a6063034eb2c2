"""softmax(scale q k^T + mask) v, or an exporter's Attention  ->  pocket.Attention with a window.

The mask is evaluated and becomes the window; the copies of K and V for every query head are taken
back; guards against rows without any key go. `pocket.Attention` is token-major in q and y;
K and V are [batch, kv_head, total, width].
"""

import onnx_ir as ir

from onnx_passes.analysis.attention import Core, from_op, from_softmax
from onnx_passes.analysis.masks import closed_form
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import TURN, attention, check_heads
from onnx_passes.ir.graph import Miss, dim, explain


def fuse_attention(model: ir.Model) -> int:
    """Replace every spelled-out attention and every ONNX Attention node; return how many."""
    windows: dict[ir.Value, int] = {}
    count = 0
    for node in list(model.graph):
        find = {"Softmax": from_softmax, "Attention": from_op}.get(node.op_type)
        if find is None or node.domain != "":
            continue
        try:
            core = find(node)
            _replace(model, core, _window(model, core.mask, windows))
            count += 1
        except Miss as miss:
            explain(node, miss)
    return count


def _window(model: ir.Model, mask: ir.Value | None, known: dict[ir.Value, int]) -> int:
    if mask is None:
        raise Miss("it has no mask: a decoder's attention is causal")
    if mask not in known:
        known[mask] = closed_form(model, mask, int(model.metadata_props["pocket.context"]))
    return known[mask]


def _replace(model: ir.Model, core: Core, window: int) -> None:
    check_heads(dim(core.q, 1), dim(core.q, 3), core.k, core.v)
    b = Builder(core.last)
    q = b.op("Transpose", core.q, perm=TURN)
    y = attention(model, b, q, core.k, core.v, core.scale, window)
    replace(core.last, b.op("Transpose", y, perm=TURN))
