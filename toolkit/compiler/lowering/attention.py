"""Rotary embedding with the update of KV states, and attention over them."""

from typing import Any

import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN, attribute, needed
from opencl_kernels.attention.heads import Heads
from opencl_kernels.attention.rope_kv import Rotation
from toolkit.compiler.lowering.builder import PhaseBuilder, label
from toolkit.compiler.lowering.dispatches import emit_attention
from toolkit.compiler.lowering.lowering import Lowering
from toolkit.compiler.lowering.matrix_products import matrix_dims
from toolkit.compiler.lowering.values import stored


def lower_rope_kv_write(b: PhaseBuilder, node: ir.Node) -> None:
    """Rotate q and k; write k and v into their states in place: input and output are one buffer."""
    qkv, cos, sin, k_state, v_state = (needed(node, i) for i in range(5))
    q, k_out, v_out = node.outputs
    b.locations[k_out], b.locations[v_out] = b.location(k_state), b.location(v_state)
    rows, half = matrix_dims(cos)
    case = Rotation(
        M=b.tokens(q),
        H=attribute(node, "heads"),
        R=2 * half,
        CTX=rows,
        interleaved=node.overload == "interleaved",
        x=stored(b, qkv).dtype,
        y=b.settings.activations,
        **_states(b, k_state),
    )
    refs = {"qkv": stored(b, qkv).ref, "cos": b.weights.vector(cos), "sin": b.weights.vector(sin)}
    refs |= {"k_state": b.location(k_out).ref, "v_state": b.location(v_out).ref}
    b.emit(label(node), "rope_kv", case, refs | {"q": b.output(q).ref})


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
        y=b.settings.activations,
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
    return {"B": b.settings.batch, "G": G, "C": C, "K": K, "ring": ring, "kv": b.settings.kv}


ATTENTION = (
    Lowering(DOMAIN, "RopeKvWrite", lower_rope_kv_write),
    Lowering(DOMAIN, "Attention", lower_attention),
)
