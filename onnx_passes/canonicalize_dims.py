"""Inputs get their roles, and their dimensions the few symbols that everything later is written in.

`batch` is fixed at compile; `seq` new tokens, `past` tokens in the cache, `rows` positions with
logits are symbols. Exporters give every cache a symbol of its own (dynamo) or names that are
expressions (optimum): none is trusted. Also new graph inputs, as later passes read them: `past`
[1], `start` [batch] (left padding), `rows` [1].
"""

import onnx_ir as ir

from onnx_passes.analysis.fixed_sizes import note_fixed_sizes
from onnx_passes.analysis.roles import (
    RoleError,
    Roles,
    find_roles,
    note_roles,
)
from onnx_passes.analysis.uses import SCATTERED, WRITTEN, Cache, cache_widths, caches, slots
from onnx_passes.ir.dims import Dim
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import COUNTERS, dim, rank
from onnx_passes.ir.infer import infer
from onnx_passes.ir.rules import Outcome

# How often some models (Qwen2-VL) ask for positions: for time, height and width.
PLANES = 3


def canonicalize_dims(model: ir.Model) -> Outcome:
    """Name roles and symbols; count the inputs that got new dimensions.

    Raises RoleError where inputs and outputs are not those of a decoder.
    """
    graph, batch = model.graph, Facts.of(model).batch
    roles = find_roles(model)
    note_roles(model, roles)
    if any(cache.node.op_type in SCATTERED for cache in caches(graph)):
        infer(model)  # along which axis, the shapes of indices tell
    note_fixed_sizes(model, roles, batch)
    inputs = {value.name: value for value in graph.inputs}
    _shape_sequences(inputs, roles, batch, slots(graph))
    found = list(caches(graph))
    fixed = [cache for cache in found if cache.node.op_type in (WRITTEN, *SCATTERED)]
    for cache in fixed:
        inputs[cache.past].shape = _written_shape(inputs[cache.past], cache, batch)
    axes = {cache.past: cache.axis for cache in found if cache not in fixed}
    for past, axis in axes.items():
        inputs[past].shape = _growing(inputs[past], axis, batch)
    widths: dict[str, int] = {}
    if any(_width_is_open(inputs[past], axis) for past, axis in axes.items()):
        infer(model)  # a first time, for head widths that only the weights know
        widths = cache_widths(graph)
    for past, axis in axes.items():
        inputs[past].shape = _cache_shape(inputs[past], axis, widths.get(past), batch)
    for name in COUNTERS:
        shape = [batch if name == "start" else 1]
        graph.inputs.append(ir.val(name, dtype=ir.DataType.INT64, shape=shape))
    return Outcome(len(inputs))


def _shape_sequences(
    inputs: dict[str | None, ir.Value], roles: Roles, batch: int, slots: int | None
) -> None:
    """The shapes of what a token or a key has; `slots`: keys, if there are always so many."""
    seq = ir.SymbolicDim("seq")
    total = ir.SymbolicDim("past") + seq if slots is None else slots
    shapes: dict[str | None, dict[int, list[Dim]]] = {
        roles.tokens: {2: [batch, seq]},
        roles.positions: {2: [batch, seq], 3: [_planes(inputs.get(roles.positions)), batch, seq]},
        roles.mask: {2: [batch, total], 4: [batch, 1, seq, total]},
        roles.written: {1: [batch]},
        roles.lengths: {1: [batch]},
        roles.places: {1: [seq]},
    }
    for name, by_rank in shapes.items():
        if name is None:
            continue
        found = rank(inputs[name])
        if found is None or found not in by_rank:
            raise RoleError(
                f"the input {name!r} has rank {'unknown' if found is None else found}",
                "tokens are [batch, seq], positions too or [3, batch, seq], "
                "masks [batch, total] or [batch, 1, seq, total], counts [batch], "
                "places in the cache [seq]",
                "export with the exporter's default inputs",
            )
        inputs[name].shape = ir.Shape(by_rank[found])


def _planes(positions: ir.Value | None) -> int:
    return dim(positions, 0) or PLANES


def _growing(past: ir.Value, axis: int, batch: int) -> ir.Shape | None:
    """The shape of a cache of any length, as far as it is known."""
    if past.shape is None or past.shape.rank() != 4:
        return past.shape
    dims: list[Dim] = [batch, *past.shape[1:]]
    dims[axis] = ir.SymbolicDim("past")
    return ir.Shape(dims)


def _written_shape(past: ir.Value, cache: Cache, batch: int) -> ir.Shape:
    """The shape of a cache of fixed size, which only `grow_caches` changes."""
    dims = [*(past.shape or ())]
    fixed = [d for axis, d in enumerate(dims) if axis not in (0, cache.axis)]
    if len(dims) not in (3, 4) or not all(isinstance(d, int) and d for d in fixed):
        raise RoleError(
            f"the cache input {past.name!r} has the shape {past.shape}",
            "caches of fixed size are [batch, kv_heads, slots, head_dim], or "
            "[batch, slots, kv_heads * head_dim], with all but the slots known",
            "export again with fixed heads",
        )
    return ir.Shape([batch, *dims[1:]])


def _fixed(past: ir.Value, axis: int) -> list[Dim]:
    """The dimensions beside batch and tokens: heads and their width."""
    dims = [*(past.shape or ())]
    return dims[1:axis] + dims[axis + 1 :]


def _width_is_open(past: ir.Value, axis: int) -> bool:
    return rank(past) == 4 and isinstance(_fixed(past, axis)[-1], ir.SymbolicDim)


def _cache_shape(past: ir.Value, axis: int, width: int | None, batch: int) -> ir.Shape:
    dims, fixed = [*(past.shape or ())], _fixed(past, axis)
    if width and _width_is_open(past, axis):
        fixed[-1] = width
    if len(dims) != 4 or axis == 0 or not all(isinstance(d, int) and d for d in fixed):
        raise RoleError(
            f"the cache input {past.name!r} has the shape {past.shape}",
            "caches are [batch, kv_heads, past, head_dim], in this order or with the tokens "
            "elsewhere, with known kv_heads and head_dim",
            "export again with fixed heads",
        )
    return ir.Shape([batch, *fixed[: axis - 1], "past", *fixed[axis - 1 :]])
