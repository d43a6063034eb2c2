"""Norms and rotary embedding of heads with the update of KV states, and attention over them."""

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN, attribute, needed, producer
from opencl_kernels.attention.heads import Heads
from opencl_kernels.attention.rope_kv import NORM_VECTORS, Rotation
from toolkit.compiler.lowering.builder import PhaseBuilder, label
from toolkit.compiler.lowering.dispatches import emit_attention
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.products.matrix_products import matrix_dims
from toolkit.compiler.lowering.values import stored
from toolkit.plan.schema import Ref

_NORMS = {"": "rms", "centered": "layer", "whole": "rms_whole"}  # by the overload of NormHeads


def lower_rope_kv_write(b: PhaseBuilder, node: ir.Node) -> None:
    """Norm and rotate q and k; write k and v into their states in place: input and output are one
    buffer."""
    qkv, cos, sin, k_state, v_state = (needed(node, i) for i in range(5))
    rows, half = matrix_dims(cos)
    stored(b, _heads(qkv))  # first: weights lie in the order of their use
    turn: dict[str, Any] = {
        "R": 2 * half,
        "CTX": rows,
        "interleaved": node.overload == "interleaved",
    }
    refs = {"cos": b.weights.vector(cos), "sin": b.weights.vector(sin)}
    if node.overload == "normed":
        turn |= {"norm": "rms_after", "EPS": attribute(node, "eps")}
        refs |= _vectors(b, node.inputs[7:])
    _write_heads(b, node, qkv, (k_state, v_state), turn, refs)


def lower_split_kv_write(b: PhaseBuilder, node: ir.Node) -> None:
    """The same without a rotation."""
    qkv, k_state, v_state = (needed(node, i) for i in range(3))
    _write_heads(b, node, qkv, (k_state, v_state), {}, {})


def _heads(qkv: ir.Value) -> ir.Value:
    """What is normed on the way to the states, or is as it is."""
    norm = producer(qkv, "NormHeads")
    return qkv if norm is None else needed(norm, 0)


def _write_heads(
    b: PhaseBuilder,
    node: ir.Node,
    qkv: ir.Value,
    states: tuple[ir.Value, ir.Value],
    options: dict[str, Any],
    refs: dict[str, Ref],
) -> None:
    q, *written = node.outputs
    for out, state in zip(written, states, strict=True):
        b.locations[out] = b.location(state)
    norm, qkv = producer(qkv, "NormHeads"), _heads(qkv)
    if norm is not None:
        options = options | {"norm": _NORMS[norm.overload], "EPS": attribute(norm, "eps")}
        refs = refs | _vectors(b, norm.inputs[1:])
    x, into = stored(b, qkv), b.output(q)
    case = Rotation(
        M=b.tokens(q),
        H=attribute(node, "heads"),
        x=x.dtype,
        y=into.dtype,
        **options,
        **_states(b, states[0]),
    )
    refs = refs | {"qkv": x.ref, "q": into.ref}
    k_out, v_out = (b.location(out).ref for out in written)
    b.emit(label(node), "rope_kv", case, refs | {"k_state": k_out, "v_state": v_out})


def _vectors(b: PhaseBuilder, values: Sequence[ir.Value | None]) -> dict[str, Ref]:
    """Scales of q and k, and offsets, as arguments of the kernel."""
    return {
        name: b.weights.vector(value)
        for name, value in zip(NORM_VECTORS, values, strict=False)
        if value is not None
    }


def lower_norm_heads(b: PhaseBuilder, node: ir.Node) -> None:
    """Left to what splits the heads."""


def check_norm_heads(node: ir.Node, _: str) -> str | None:
    """Only the kernel that splits heads norms them."""
    readers = {use.node.op_type for use in node.outputs[0].uses()}
    return None if readers <= {"RopeKvWrite", "SplitKvWrite"} else "other ops read its heads"


def lower_attention(b: PhaseBuilder, node: ir.Node) -> None:
    """Attention over states, as passes found it."""
    q, k_state, v_state = (needed(node, i) for i in range(3))
    y, window = node.outputs[0], attribute(node, "window")
    case = Heads(
        M=b.tokens(y),
        H=int(b.dims(q)[2]),
        SCALE=attribute(node, "scale"),
        WINDOW=window if window < b.settings.context else 0,  # beyond the context: none
        x=stored(b, q).dtype,
        y=b.float_type(y),
        **_states(b, k_state),
    )
    inputs = {"q": q, "k_state": k_state, "v_state": v_state}
    refs = {name: stored(b, value).ref for name, value in inputs.items()}
    refs["y"] = b.output(y).ref
    emit_attention(b, label(node), case, refs)


def _states(b: PhaseBuilder, state: ir.Value) -> dict[str, Any]:
    """Sizes of KV states [B, G, C, K]; with fewer slots than the context they are rings."""
    _, G, C, K = (int(d) for d in b.dims(state))
    ring = b.settings.context > C
    return {
        "B": b.settings.batch,
        "G": G,
        "C": C,
        "K": K,
        "ring": ring,
        "kv": b.location(state).dtype,
    }


ATTENTION = (
    Lowering(DOMAIN, "NormHeads", lower_norm_heads, check_norm_heads),
    Lowering(DOMAIN, "RopeKvWrite", lower_rope_kv_write),
    Lowering(DOMAIN, "SplitKvWrite", lower_split_kv_write),
    Lowering(DOMAIN, "Attention", lower_attention),
)
