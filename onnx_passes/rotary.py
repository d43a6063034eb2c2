"""Rotary tables: what cos and sin are computed from is evaluated, in float64, for every position of the context.

The tables are stored as float32 [positions, pairs]; `sin` never runs on the device (drivers differ in its accuracy).
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.evaluate import Subgraph
from onnx_passes.graph import Builder, Miss, constant
from onnx_passes.roles import roles_of

Tables = tuple[ir.Value, ir.Value]


def computed_tables(model: ir.Model, builder: Builder, cos: ir.Value, sin: ir.Value, width: int) -> Tables:
    """Initializers [context, width / 2] for subgraphs that give [batch, seq, width] or [batch, seq, width / 2]."""
    key = ("rotary", cos, sin)
    cache = model.graph.meta.setdefault("pocket_rotary", {})
    if key not in cache:
        piece = Subgraph(model, [cos, sin], roles_of(model), double=True)
        context = int(model.metadata_props["pocket.context"])
        whole = [_rows(table, width) for table in piece.run(seq=context, past=0)]
        for seq, past in ((3, 5), (1, context - 1)):
            if past + seq <= context:
                _check_rows(whole, [_rows(t, width) for t in piece.run(seq, past)], past)
        cache[key] = _store(builder, *whole)
    found: Tables = cache[key]
    return found


def stored_tables(model: ir.Model, builder: Builder, cos: ir.Value, sin: ir.Value) -> Tables:
    """The first `context` rows of tables that the exporter stored (com.microsoft ops)."""
    context = int(model.metadata_props["pocket.context"])
    key = ("rotary", cos, sin)
    cache = model.graph.meta.setdefault("pocket_rotary", {})
    if key not in cache:
        arrays = [constant(cos), constant(sin)]
        if arrays[0] is None or arrays[1] is None:
            raise Miss("its rotary tables are not constants")
        if len(arrays[0]) < context:
            raise Miss(f"its rotary tables end at {len(arrays[0])} positions, before the context of {context}")
        cache[key] = _store(builder, arrays[0][:context], arrays[1][:context])
    found: Tables = cache[key]
    return found


def _rows(table: np.ndarray, width: int) -> np.ndarray:
    """[positions, width / 2] from [..., positions, width] with equal halves, or without repetition."""
    flat = table.reshape(-1, table.shape[-1])
    if flat.shape[-1] == width // 2:
        return flat
    first, second = np.split(flat, 2, axis=-1)
    if flat.shape[-1] != width or not np.array_equal(first, second):
        raise Miss("cos and sin do not repeat the same angles in both halves of a head")
    return first


def _check_rows(whole: list[np.ndarray], part: list[np.ndarray], past: int) -> None:
    for table, rows in zip(whole, part, strict=True):
        if rows.shape[0] != 0 and not np.allclose(table[past : past + len(rows)], rows, rtol=0, atol=1e-9):
            raise Miss("the rotary angles depend on the length of the sequence (dynamic scaling)")


def _store(builder: Builder, cos: np.ndarray, sin: np.ndarray) -> Tables:
    pair = (builder.constant(t.astype(np.float32), name) for t, name in ((cos, "rotary.cos"), (sin, "rotary.sin")))
    cos_value, sin_value = pair
    return cos_value, sin_value
