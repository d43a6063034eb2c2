"""com.microsoft.MultiHeadAttention  ->  what it does: split heads, extend caches, attend.

With a bias of its scores it becomes ONNX's ops, as exporters spell attention; a causal one over a
cache becomes `pocket.Attention` at once.
"""

import math

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.masks import NO_WINDOW
from onnx_passes.ir.edit import Builder
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, attention
from onnx_passes.ir.graph import attribute, dim, needed, operand, producer, rank
from onnx_passes.ir.rules import Miss


def multi_head_attention(model: ir.Model, b: Builder, node: ir.Node) -> list[ir.Value | None]:
    """y [B,S,N*K], and the extended caches [B,N,T,K] where the node has some."""
    _check_supported(node)
    heads = attribute(node, "num_heads")
    q, k, v = (_by_head(b, x, heads) for x in _biased(b, node))
    pasts, presents = [operand(node, 6), operand(node, 7)], list[ir.Value | None]([None, None])
    if pasts[0] is not None:
        k, v = (b.op("Concat", p, x, axis=2) for p, x in zip(pasts, (k, v), strict=True))
    presents = [k, v] if len(node.outputs) > 1 else presents
    scale = attribute(node, "scale", 0.0) or 1 / math.sqrt((dim(needed(node, 0), -1) or 1) // heads)
    if attribute(node, "unidirectional", 0):
        y = attention(
            model, b, b.op("Transpose", q, perm=SWAP_HEADS_TOKENS), k, v, scale, NO_WINDOW
        )
    else:
        y = b.op(
            "Transpose", _attended(b, q, k, v, scale, operand(node, 5)), perm=SWAP_HEADS_TOKENS
        )
    return [b.op("Reshape", y, b.target(0, 0, -1)), *presents]


def _check_supported(node: ir.Node) -> None:
    names = {4: "key_padding_mask", 8: "past_sequence_length", 9: "cache_indirection"}
    given = [name for index, name in names.items() if operand(node, index) is not None]
    if given:
        raise Miss(f"its input {given[0]} is not supported")
    if any(output.uses() for output in node.outputs[3:]):
        raise Miss("its output of scores is not supported")
    if rank(needed(node, 0)) != 3 or dim(needed(node, 0), -1) is None:
        raise Miss("its queries are not [batch, sequence, width]: packed heads are not supported")
    past = operand(node, 6)
    if attribute(node, "unidirectional", 0) and (past is None or operand(node, 5) is not None):
        raise Miss("it is causal with a bias or without a cache")


def _biased(b: Builder, node: ir.Node) -> list[ir.Value]:
    """Queries, keys and values with their part of the bias, which is one vector."""
    values, bias = [needed(node, i) for i in range(3)], operand(node, 3)
    if bias is None:
        return values
    widths = [dim(x, -1) for x in values]
    if None in widths or any(rank(x) != 3 for x in values):
        raise Miss("its bias is added to values of unknown width")
    parts = b.ops("Split", 3, bias, b.constant(np.array(widths, np.int64)), axis=0)
    return [_typed(b.op("Add", x, part), x) for x, part in zip(values, parts, strict=True)]


def _typed(value: ir.Value, like: ir.Value) -> ir.Value:
    value.type, value.shape = like.type, like.shape
    return value


def _by_head(b: Builder, x: ir.Value, heads: int) -> ir.Value:
    """[B,S,N*K] as [B,N,S,K]; what was merged from that form is taken from before the merge."""
    if rank(x) == 4:
        return x
    joined = producer(x, "Reshape")
    swapped = None if joined is None else producer(joined.inputs[0], "Transpose")
    if (
        swapped is not None
        and attribute(swapped, "perm") == SWAP_HEADS_TOKENS
        and dim(swapped.inputs[0], 1) == heads
    ):
        return needed(swapped, 0)
    return b.op("Transpose", b.op("Reshape", x, b.target(0, 0, heads, -1)), perm=SWAP_HEADS_TOKENS)


def _attended(
    b: Builder, q: ir.Value, k: ir.Value, v: ir.Value, scale: float, bias: ir.Value | None
) -> ir.Value:
    """softmax(scale q k^T + bias) v, all by head."""
    scores = b.op("MatMul", q, b.op("Transpose", k, perm=[0, 1, 3, 2]))
    dtype = (v.dtype or ir.DataType.FLOAT).numpy()
    scaled = b.op("Mul", scores, b.constant(np.array(scale, dtype)))
    biased = scaled if bias is None else b.op("Add", scaled, bias)
    return b.op("MatMul", b.op("Softmax", biased, axis=-1), v)
