"""GroupQueryAttention's softmax with what `pocket.Attention` has no place for, in ONNX's ops.

Scores may be capped and biased, and each head may have a sink: the score of one more key, which has
no value (gpt-oss; smooth softmax is a sink of 0).
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.count_inputs import CLOSED
from onnx_passes.ir.edit import Builder
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS, places
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import DOMAIN

SEQ = -1  # of pocket.Spread


@dataclass(frozen=True)
class Scoring:
    """What becomes of the products of queries and keys."""

    scale: float
    window: int
    cap: float = 0.0  # of capped scores: cap * tanh(score / cap)
    bias: ir.Value | None = None  # [B or 1, H or 1, S, T]
    sink: ir.Value | None = None  # [H]

    @property
    def is_plain(self) -> bool:
        """Whether `pocket.Attention` computes it."""
        return not self.cap and self.bias is None and self.sink is None


def attended(
    model: ir.Model,
    b: Builder,
    q: ir.Value,
    k: ir.Value,
    v: ir.Value,
    sizes: tuple[int, int, int],
    scoring: Scoring,
) -> ir.Value:
    """softmax(scores) v, [B,S,H,K], for q [B,S,H,K] and k, v [B,G,T,K]; `sizes` are H, G and K."""
    heads = sizes[0]
    k, v = (_for_all_heads(b, x, *sizes) for x in (k, v))
    dtype = (q.dtype or ir.DataType.FLOAT).numpy()
    by_head = b.op("Transpose", q, perm=SWAP_HEADS_TOKENS)
    raw = b.op("MatMul", by_head, b.op("Transpose", k, perm=[0, 1, 3, 2]))
    scores = b.op("Mul", raw, b.constant(np.array(scoring.scale, dtype)))
    weights = _weights(model, b, scores, scoring, heads, dtype)
    return b.op("Transpose", b.op("MatMul", weights, v), perm=SWAP_HEADS_TOKENS)


def _for_all_heads(b: Builder, x: ir.Value, heads: int, groups: int, width: int) -> ir.Value:
    """[B,H,T,K] of [B,G,T,K]."""
    if heads == groups:
        return x
    apart = b.op("Unsqueeze", x, b.constant(np.array([2], np.int64)))
    copies = b.op("Expand", apart, b.target(1, 1, heads // groups, 1, 1))
    return b.op("Reshape", copies, b.target(0, heads, -1, width))


def _weights(
    model: ir.Model, b: Builder, scores: ir.Value, scoring: Scoring, heads: int, dtype: np.dtype
) -> ir.Value:
    if scoring.cap:
        cap = b.constant(np.array(scoring.cap, dtype))
        scores = b.op("Mul", b.op("Tanh", b.op("Div", scores, cap)), cap)
    if scoring.bias is not None:
        scores = b.op("Add", scores, scoring.bias)
    counts = places(model, b, roles_of(model).tokens, padded=True)
    seen = b.op("CausalMask", *counts, domain=DOMAIN, window=scoring.window)
    masked = b.op("Where", seen, scores, b.constant(np.array(CLOSED, dtype)))
    if scoring.sink is None:
        return b.op("Softmax", masked, axis=-1)
    one_each = b.op("Reshape", scoring.sink, b.target(1, heads, 1, 1))
    shape = [Facts.of(model).batch, heads, SEQ, 1]
    column = b.op("Spread", one_each, *counts[:2], domain=DOMAIN, shape=shape)
    weights = b.op("Softmax", b.op("Concat", masked, column, axis=-1), axis=-1)
    first, last, axis = (b.constant(np.array([n], np.int64)) for n in (0, -1, -1))
    return b.op("Slice", weights, first, last, axis)
