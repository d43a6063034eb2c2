"""Which kernels serve which op: one handler per op type, and the table of them.

Handlers say sizes in the kernels' own letters (opencl_kernels/kernel.py) and where arguments lie; the rest follows.
"""

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import sympy

from onnx_passes.graph import DOMAIN, attribute, constant, is_constant, needed, operand, sole_use
from onnx_passes.masks import NO_WINDOW
from onnx_passes.shapes import as_expr
from toolkit.elementwise import expression, index_map
from toolkit.errors import PocketError
from toolkit.lower import PhaseBuilder, Place, c_expression

Handler = Callable[[PhaseBuilder, ir.Node], None]
GEMV_ROWS = 4  # up to so many rows a matmul is a GEMV
QUANTISED = "its weights are quantised: sources in 4 or 8 bits are not read yet"


def _embed(b: PhaseBuilder, node: ir.Node) -> None:
    table, y = needed(node, 0), node.outputs[0]
    place = b.output(y)
    V, D = _fixed(table)
    pieces = b.weights.matrix(table, transposed=False)
    for piece in pieces:
        case: dict[str, Any] = {"M": b.rows(y), "V": piece.rows, "D": D, "w": b.weights.dtype(table), "y": place.dtype}
        if len(pieces) > 1:
            case["V0"] = piece.first
        b.emit("embed", "embed", case, {"tokens": b.place(node.inputs[1]).ref, "table": piece.ref, "y": place.ref})


def _rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    x, y = b.place(node.inputs[0]), node.outputs[0]
    refs = {"x": x.ref, "gamma": b.weights.vector(needed(node, 1)), "y": b.output(y).ref}
    b.emit(_label(node), "rmsnorm", _norm_case(b, node, x), refs)


def _add_rmsnorm(b: PhaseBuilder, node: ir.Node) -> None:
    x, r = b.place(node.inputs[0]), b.place(node.inputs[1])
    total, y = node.outputs
    refs = {"x": x.ref, "r": r.ref, "gamma": b.weights.vector(needed(node, 2))}
    refs |= {"sum": b.output(total).ref, "y": b.output(y).ref}
    b.emit(_label(node), "add_rmsnorm", _norm_case(b, node, x), refs)


def _norm_case(b: PhaseBuilder, node: ir.Node, x: Place) -> dict[str, Any]:
    y = node.outputs[-1]
    width = int(b.dims(y)[-1])
    case = {"M": b.rows(y), "D": width, "EPS": attribute(node, "eps"), "x": x.dtype, "y": b.settings.activations}
    return {**case, "rows": "last"} if x.last_rows else case


def _matmul(b: PhaseBuilder, node: ir.Node) -> None:
    y, weight = node.outputs[0], needed(node, 1)
    glu = sole_use(y, "Glu")
    if glu is not None and glu.domain == DOMAIN:
        _gate_up(b, node, glu)
        return
    K, N = _fixed(weight)
    place = _logits(b, y) if y.is_graph_output() else b.output(y)
    pieces = b.weights.matrix(weight, transposed=True)
    for piece in pieces:
        case = {**_product(b, node, place), "N": piece.rows, "K": K}
        if len(pieces) > 1:
            case |= {"Y0": piece.first, "LDY": N}
        refs = {"x": b.place(node.inputs[0]).ref, "w": piece.ref, "y": place.ref, **_bias(b, node, piece.first, piece.rows)}
        b.emit(_label(node), _product_family(case), case, refs)


def _gate_up(b: PhaseBuilder, node: ir.Node, glu: ir.Node) -> None:
    """Gate and up in one matmul; with few rows the gated product is its epilogue, else a kernel of its own."""
    if operand(node, 2) is not None:
        raise _refusal(node, "gate and up have biases, which the interleaved weight does not hold")
    weight, y = needed(node, 1), glu.outputs[0]
    K, F = _fixed(weight)[0], _fixed(weight)[1] // 2
    ref, rows = b.weights.gate_up(weight)
    place = b.output(y)
    case = {**_product(b, node, place), "N": rows, "K": K, "act": glu.overload or "silu"}
    x = b.place(node.inputs[0]).ref
    if _product_family(case) == "gemv":
        b.emit(_label(node), "gemv", {**case, "SWIGLU": 1, "F": F}, {"x": x, "w": ref, "y": place.ref})
    else:
        wide = b.output(node.outputs[0], [*b.dims(node.outputs[0])[:-1], as_expr(rows)])
        b.emit(_label(node), "gemm", {**case, "y": wide.dtype}, {"x": x, "w": ref, "y": wide.ref})
        gated = {"M": case["M"], "F": F, "x": wide.dtype, "y": place.dtype, "act": case["act"]}
        b.emit(_label(glu), "swiglu", gated, {"gu": wide.ref, "y": place.ref})
    b.done.add(glu)


def _product(b: PhaseBuilder, node: ir.Node, y: Place) -> dict[str, Any]:
    x = b.place(node.inputs[0])
    dtype = b.weights.dtype(needed(node, 1))
    return {"M": b.rows(node.outputs[0]), "w": dtype, "x": x.dtype, "y": y.dtype, "bias": operand(node, 2) is not None}


def _product_family(case: dict[str, Any]) -> str:
    return "gemv" if case["M"].is_Integer and int(case["M"]) <= GEMV_ROWS else "gemm"


def _bias(b: PhaseBuilder, node: ir.Node, first: int, rows: int) -> dict[str, Any]:
    bias = operand(node, 2)
    if bias is None:
        return {}
    if first or rows != _fixed(needed(node, 1))[1]:
        raise _refusal(node, "its weight is split over files and it has a bias")
    return {"bias": b.weights.vector(bias)}


def _logits(b: PhaseBuilder, y: ir.Value) -> Place:
    b.places[y] = Place(b.buffer("logits"), "f32")
    return b.places[y]


def _rope_kv_write(b: PhaseBuilder, node: ir.Node) -> None:
    qkv, cos, k_state = needed(node, 0), needed(node, 1), needed(node, 3)
    q, k_out, v_out = node.outputs
    _, G, C, K = b.dims(k_state)
    rows, half = _fixed(cos)
    case = {"M": b.rows(q), "H": attribute(node, "heads"), "G": int(G), "K": int(K), "C": int(C), "CTX": rows,
            "R": 2 * half, "B": b.settings.batch, "INTERLEAVED": int(node.overload == "interleaved"),
            "RING": int(int(C) < b.settings.context), "x": b.place(qkv).dtype, "y": b.settings.activations,
            "kv": b.settings.kv}  # fmt: skip
    for out, state in ((k_out, k_state), (v_out, needed(node, 4))):
        b.places[out] = b.place(state)  # in place: the plan gives both one buffer
    tables = {name: b.weights.vector(needed(node, i)) for i, name in ((1, "cos"), (2, "sin"))}
    refs = {"qkv": b.place(qkv).ref, **tables, "k_state": b.place(k_out).ref, "v_state": b.place(v_out).ref}
    b.emit(_label(node), "rope_kv", case, {**refs, "q": b.output(q).ref})


def _attention(b: PhaseBuilder, node: ir.Node) -> None:
    q, k_state, y = needed(node, 0), needed(node, 1), node.outputs[0]
    _, G, C, K = b.dims(k_state)
    window = attribute(node, "window")
    case = {"M": b.rows(y), "H": int(b.dims(q)[2]), "G": int(G), "K": int(K), "C": int(C), "B": b.settings.batch,
            "SCALE": attribute(node, "scale"), "WINDOW": 0 if window >= min(NO_WINDOW, b.settings.context) else window,
            "SOFTCAP": 0, "RING": int(int(C) < b.settings.context), "x": b.place(q).dtype, "y": b.settings.activations,
            "kv": b.settings.kv}  # fmt: skip
    family = "attention_decode" if case["M"] == b.settings.batch else "attention_prefill"
    refs = {"q": b.place(q).ref, "k_state": b.place(k_state).ref, "v_state": b.place(node.inputs[2]).ref}
    b.emit(_label(node), family, case, {**refs, "y": b.output(y).ref})


def _view(b: PhaseBuilder, node: ir.Node) -> None:
    """Same bytes, other shape."""
    b.places[node.outputs[0]] = b.place(node.inputs[0])


def _last_rows(b: PhaseBuilder, node: ir.Node) -> None:
    """Only norms read it: they map their rows to these."""
    for use in node.outputs[0].uses():
        if use.node.op_type not in ("RmsNorm", "AddRmsNorm"):
            raise _refusal(node, f"{use.node.op_type} reads the last rows; only a norm may")
    source = b.place(node.inputs[0])
    b.places[node.outputs[0]] = Place(source.ref, source.dtype, last_rows=True)


def _elementwise(b: PhaseBuilder, node: ir.Node) -> None:
    y = node.outputs[0]
    place = _logits(b, y) if y.is_graph_output() else b.output(y)
    shape = b.dims(y)
    count = sympy.prod(shape)
    case: dict[str, Any] = {"EXPR": expression(b.functions[node.op_identifier()]), "INPUTS": len(node.inputs)}
    case |= {"COUNT": count, "COUNT_C": c_expression(count), "y": place.dtype}
    refs = {"y": place.ref}
    for i, value in enumerate(node.inputs):
        assert value is not None
        case[f"IDX{i}"] = index_map(shape, [as_expr(d) for d in value.shape or ()] if is_constant(value) else b.dims(value))
        source = Place(b.weights.vector(value), "f32") if is_constant(value) else b.place(value)
        case[f"a{i}"], refs[f"a{i}"] = source.dtype, source.ref
    b.emit(_label(node), "elementwise", case, refs)


HANDLERS: dict[tuple[str, str], Handler] = {
    ("", "Gather"): _embed,
    ("", "MatMul"): _matmul,
    ("", "Reshape"): _view,
    (DOMAIN, "Linear"): _matmul,
    (DOMAIN, "RmsNorm"): _rmsnorm,
    (DOMAIN, "AddRmsNorm"): _add_rmsnorm,
    (DOMAIN, "RopeKvWrite"): _rope_kv_write,
    (DOMAIN, "Attention"): _attention,
    (DOMAIN, "LastRows"): _last_rows,
    (DOMAIN, "Elementwise"): _elementwise,
}


def unsupported(node: ir.Node) -> str | None:
    """Why no kernel serves this node, or None if one does."""
    if node.domain == DOMAIN and node.op_type == "Glu":
        source = node.inputs[0]
        return None if source is not None and sole_use(source) is node else "its matmul is read elsewhere too"
    if (node.domain, node.op_type) not in HANDLERS:
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized", "DequantizeLinear", "QMoE"):
            return QUANTISED
        return "no kernel computes this op"
    if node.op_type == "Gather" and not (is_constant(node.inputs[0]) and attribute(node, "axis", 0) == 0):
        return "only a constant table can be gathered from, by its rows"
    if node.op_type in ("MatMul", "Linear") and not is_constant(node.inputs[1]):
        return "only a constant matrix can be multiplied with"
    return None


def handler_of(node: ir.Node) -> Handler:
    """The handler of a node that `unsupported` has nothing against."""
    return HANDLERS[(node.domain, node.op_type)]


def _refusal(node: ir.Node, because: str) -> PocketError:
    return PocketError(f"no kernel for {node.op_type} at {node.name}", because, "pocketcl inspect MODEL --unsupported")


def _fixed(value: ir.Value) -> tuple[int, int]:
    """Both sizes of a constant matrix."""
    shape = value.shape if value.shape is not None else getattr(constant(value), "shape", ())
    rows, columns = (int(d) for d in shape)  # type: ignore[arg-type]
    return rows, columns


def _label(node: ir.Node) -> str:
    """What a person finds the dispatch by: the node's output."""
    return (node.outputs[-1].name or node.op_type).strip("/")
