"""Inputs get their roles, and their dimensions the few symbols that everything later is written in.

`batch` is fixed at compile; `seq` new tokens, `past` tokens in the cache, `rows` positions with logits are symbols.
Exporters give every cache a symbol of its own (dynamo) or names that are expressions (optimum): none is trusted.
Also new graph inputs, as later passes read them: `past` [1], `start` [batch] (left padding), `rows` [1].
"""

import onnx_ir as ir

from onnx_passes.graph import drop_unused
from onnx_passes.roles import RoleError, Roles, cache_heads, find_roles
from onnx_passes.shapes import infer

SYMBOLS = ("seq", "past", "rows")
COUNTERS = ("past", "start", "rows")


def canonicalize_dims(model: ir.Model) -> int:
    """Name roles and symbols; return how many inputs got new dimensions."""
    graph = model.graph
    _drop_unused_inputs(model)
    roles = find_roles(graph)
    batch = int(model.metadata_props.get("pocket.batch", "1"))
    model.metadata_props.update({"pocket.roles": roles.to_text(), "pocket.symbols": ",".join(SYMBOLS)})
    inputs = {value.name: value for value in graph.inputs}
    _shape_sequences(inputs, roles, batch)
    infer(model)  # a first time, for head widths that only the weights know
    for past, _ in roles.cache:
        inputs[past].shape = _cache_shape(graph, inputs[past], batch)
    _add_counters(graph, batch)
    infer(model)
    return len(inputs)


def _drop_unused_inputs(model: ir.Model) -> None:
    drop_unused(model)
    for value in list(model.graph.inputs):
        if not value.uses() and not value.is_graph_output():
            model.graph.inputs.remove(value)


def _shape_sequences(inputs: dict[str | None, ir.Value], roles: Roles, batch: int) -> None:
    seq, total = ir.SymbolicDim("seq"), ir.SymbolicDim("past") + ir.SymbolicDim("seq")
    inputs[roles.tokens].shape = ir.Shape([batch, seq])
    for name, last in ((roles.positions, seq), (roles.mask, total)):
        if name is None:
            continue
        rank = 0 if inputs[name].shape is None else inputs[name].shape.rank()  # type: ignore[union-attr]
        if rank == 4 and name == roles.mask:
            inputs[name].shape = ir.Shape([batch, 1, seq, total])
        elif rank == 2:
            inputs[name].shape = ir.Shape([batch, last])
        else:
            raise RoleError(
                f"the input {name!r} has rank {rank}",
                "masks are [batch, total] or [batch, 1, seq, total], positions [batch, seq]",
                "export with the exporter's default inputs",
            )


def _cache_shape(graph: ir.Graph, past: ir.Value, batch: int) -> ir.Shape:
    dims = [] if past.shape is None else list(past.shape)
    width = dims[3] if len(dims) == 4 else None
    if not isinstance(width, int):
        width = cache_heads(graph, past.name or "")
    if len(dims) != 4 or not isinstance(dims[1], int) or width is None:
        raise RoleError(
            f"the cache input {past.name!r} has the shape {past.shape}",
            "caches are [batch, kv_heads, past, head_dim] with known kv_heads and head_dim",
            "export again with fixed heads",
        )
    return ir.Shape([batch, dims[1], "past", width])


def _add_counters(graph: ir.Graph, batch: int) -> None:
    for name in COUNTERS:
        value = ir.val(name, dtype=ir.DataType.INT64, shape=[batch if name == "start" else 1])
        graph.inputs.append(value)
