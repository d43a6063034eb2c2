"""The `pocket` ops that several passes emit, with what stands around them."""

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import Builder
from onnx_passes.ir.graph import DOMAIN, dim, finite
from onnx_passes.ir.rules import Miss

SWAP_HEADS_TOKENS = [0, 2, 1, 3]  # [B, H, S, K] <-> [B, S, H, K]


def counters(model: ir.Model) -> tuple[ir.Value, ir.Value]:
    """The graph inputs `past` and `start`."""
    by_name = {value.name: value for value in model.graph.inputs}
    return by_name["past"], by_name["start"]


def places(
    model: ir.Model, b: Builder, tokens: str, padded: bool, batch: int = 1
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """The inputs of ops that count: tokens, `past`, and `start`, which is 0 if padding counts."""
    past, start = counters(model)
    x = next(value for value in model.graph.inputs if value.name == tokens)
    return x, past, start if padded else b.constant(np.zeros(batch, np.int64))


def rope(
    model: ir.Model,
    b: Builder,
    x: ir.Value,
    tables: tuple[ir.Value, ir.Value],
    interleaved: bool = False,
) -> ir.Value:
    """`pocket.Rope` of x [B,H,S,K], with the transposes to and from token-major."""
    by_token = b.op("Transpose", x, perm=SWAP_HEADS_TOKENS)
    return b.op(
        "Transpose", rope_by_token(model, b, by_token, tables, interleaved), perm=SWAP_HEADS_TOKENS
    )


def rope_by_token(
    model: ir.Model,
    b: Builder,
    x: ir.Value,
    tables: tuple[ir.Value, ir.Value],
    interleaved: bool = False,
) -> ir.Value:
    """`pocket.Rope` of x [B,S,H,K]."""
    overload = "interleaved" if interleaved else ""
    return b.op("Rope", x, *tables, *counters(model), domain=DOMAIN, overload=overload)


def attention(
    model: ir.Model,
    b: Builder,
    q: ir.Value,
    k: ir.Value,
    v: ir.Value,
    scale: float,
    window: int,
) -> ir.Value:
    """`pocket.Attention` of q [B,S,H,K] over k, v [B,G,T,K]."""
    inputs = (q, k, v, *counters(model))
    return b.op("Attention", *inputs, domain=DOMAIN, scale=finite(scale, "scale"), window=window)


def attentions(model: ir.Model) -> list[ir.Node]:
    """Every `pocket.Attention`: one a layer, in the order of the layers."""
    return [n for n in model.graph if (n.domain, n.op_type) == (DOMAIN, "Attention")]


def check_heads(heads: int | None, width: int | None, keys: ir.Value, values: ir.Value) -> None:
    """A Miss unless each KV head serves as many query heads, all of one width, all known."""
    groups, widths = dim(keys, 1), {width, dim(keys, 3), dim(values, 3)}
    if not heads or not groups or heads % groups or dim(values, 1) != groups:
        raise Miss(f"{heads} query heads do not share {groups} KV heads evenly")
    if len(widths) != 1 or width is None:
        raise Miss(f"queries, keys and values are of different or unknown width: {widths}")
