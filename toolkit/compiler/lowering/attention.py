"""Rotation with the writing of KV states, and attention over them."""

from typing import Any

import onnx_ir as ir

from onnx_passes.ir.graph import attribute, needed
from opencl_kernels.attention.split import splits_shape
from opencl_kernels.kernel import Case, ceil_div
from toolkit.compiler.lowering.builder import PhaseBuilder, Settings, label
from toolkit.compiler.lowering.matmul import matrix_dims

LONG = 1024  # keys; below, a second launch costs more than it gains
SPLIT_KEYS = 256  # keys that are worth a work-group of their own


def lower_rope_kv_write(b: PhaseBuilder, node: ir.Node) -> None:
    """q turned; k (turned) and v into their states, in place: one buffer for in and out."""
    qkv, cos, sin, k_state, v_state = (needed(node, i) for i in range(5))
    q, k_out, v_out = node.outputs
    b.places[k_out], b.places[v_out] = b.place(k_state), b.place(v_state)
    rows, half = matrix_dims(cos)
    case = _states(b, k_state) | {"M": b.tokens(q), "H": attribute(node, "heads"), "CTX": rows}
    case |= {"R": 2 * half, "INTERLEAVED": int(node.overload == "interleaved")}
    case |= {"x": b.place(qkv).dtype, "y": b.settings.activations}
    refs = {"qkv": b.place(qkv).ref, "cos": b.weights.vector(cos), "sin": b.weights.vector(sin)}
    refs |= {"k_state": b.place(k_out).ref, "v_state": b.place(v_out).ref, "q": b.output(q).ref}
    b.emit(label(node), "rope_kv", case, refs)


def lower_attention(b: PhaseBuilder, node: ir.Node) -> None:
    """One token per sequence (decode) and many (prefill) have kernels of their own."""
    q, k_state, v_state = (needed(node, i) for i in range(3))
    y, window = node.outputs[0], attribute(node, "window")
    case = _states(b, k_state) | {"M": b.tokens(y), "H": int(b.dims(q)[2]), "SOFTCAP": 0}
    case |= {"SCALE": attribute(node, "scale"), "x": b.place(q).dtype, "y": b.settings.activations}
    case["WINDOW"] = window if window < b.settings.context else 0  # beyond the context: none
    refs = {"q": b.place(q).ref, "k_state": b.place(k_state).ref, "v_state": b.place(v_state).ref}
    refs["y"] = b.output(y).ref
    if case["M"] != b.settings.batch:
        b.emit(label(node), "attention_prefill", case, refs)
        return
    count = split_count(b.settings, case)
    if not count:
        b.emit(label(node), "attention_decode", case, refs)
        return
    case["SPLITS"], splits = count, f"{label(node)} splits"
    refs["splits"] = b.temporary(splits, "f32", splits_shape(case))
    b.emit(splits, "attention_split", case, refs)
    b.emit(label(node), "attention_combine", case, refs)


def split_count(settings: Settings, case: Case) -> int:
    """Into how many splits a token's keys go to fill the device; 0: not at all.

    Two for each compute unit, of 256 keys or more, where the K/V heads alone are too few.
    """
    heads, keys = settings.batch * case["G"], min(case["C"], case["WINDOW"] or case["C"])
    if heads >= settings.compute_units or keys < LONG:
        return 0
    return int(min(ceil_div(2 * settings.compute_units, heads), keys // SPLIT_KEYS))


def _states(b: PhaseBuilder, state: ir.Value) -> dict[str, Any]:
    """Of KV states [B, G, C, K]; fewer slots than the context make a ring."""
    _, G, C, K = (int(d) for d in b.dims(state))
    ring = int(b.settings.context > C)
    return {"B": b.settings.batch, "G": G, "C": C, "K": K, "RING": ring, "kv": b.settings.kv}
