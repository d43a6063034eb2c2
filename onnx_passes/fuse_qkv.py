"""q, k and v of a layer  ->  one product, and pocket.RopeKvWrite or SplitKvWrite.

Which columns of the projections are the heads of queries, keys and values, and which norms and
rotations they go through, follows from the dataflow (analysis/heads). Weights that order their
columns otherwise (the q, k and v of each head together) have them picked in the order q, k, v.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.heads.columns import Heads, heads_of, path_to
from onnx_passes.analysis.heads.queries import Queries, queries_of
from onnx_passes.analysis.heads.steps import Steps, steps_of
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.emit import SWAP_HEADS_TOKENS
from onnx_passes.ir.graph import DOMAIN, dim, is_constant, is_op, linear, needed, rank
from onnx_passes.ir.rules import Done, Loss, Miss, Outcome, attempt
from onnx_passes.ir.states import STATE
from onnx_passes.weights.concat import merged

Order = dict[ir.Node, int]  # the place of each node in the graph


class Layer(NamedTuple):
    """Where a layer writes its keys and its values."""

    name: str
    keys: ir.Node
    values: ir.Node


def fuse_qkv(model: ir.Model) -> Outcome:
    """Fuse what stands before every attention."""
    order = {node: i for i, node in enumerate(model.graph)}
    return attempt((layer.keys, partial(_fuse, layer, order)) for layer in _layers(model.graph))


def _layers(graph: ir.Graph) -> Iterator[Layer]:
    writes = [node for node in graph if (node.domain, node.op_type) == (DOMAIN, "KvWrite")]
    by_state = {needed(node, 0).name or "": node for node in writes}
    for state, keys in by_state.items():
        stem, _, letter = state.rpartition(".")
        values = by_state.get(f"{stem}.v")
        if letter == "k" and values is not None:
            yield Layer(stem.removeprefix(STATE), keys, values)


def _fuse(layer: Layer, order: Order) -> Done:
    queries = queries_of(layer.keys.outputs[0])
    writes = layer.keys, layer.values
    paths = [queries.path, *(path_to(needed(node, 1)) for node in writes)]
    parts = [heads_of(queries.path, queries.swapped), *map(heads_of, paths[1:])]
    steps = steps_of(*parts)
    if steps.rope is not None and not all(map(is_constant, steps.rope.inputs[1:3])):
        raise Miss("the rotary tables are not constants")
    heads, groups = len(parts[0].columns), len(parts[1].columns)
    if len({part.columns.shape[1] for part in parts}) > 1 or heads % groups:
        raise Miss("queries, keys and values differ in width, or do not share heads evenly")
    _check_readers(parts, {path[-1] for path in paths})
    b, qkv, loss = _packed(parts, f"{layer.name}.qkv", order)
    b.prefix = layer.values.outputs[0].name or b.prefix
    if rank(parts[0].source) == 2:
        width = sum(part.columns.size for part in parts)
        qkv = b.op("Reshape", qkv, b.target(dim(layer.keys.outputs[0], 0) or 1, -1, width))
    q, *states = _written(b, qkv, layer, steps, {"heads": heads, "kv_heads": groups})
    for node, state in zip(writes, states, strict=True):
        _count_tokens_of(q, node.outputs[0])
        replace(node, state)
    _put(b, q, queries)
    return loss or True


def _check_readers(parts: Sequence[Heads], ends: set[ir.Value]) -> None:
    """A Miss where something else reads what is merged, which would be computed twice then."""
    nodes = {node for part in parts for node in part.nodes}
    inner = {part.source for part in parts} | {y for node in nodes for y in node.outputs}
    for value in inner - ends:
        if value.is_graph_output() or any(use.node not in nodes for use in value.uses()):
            raise Miss("something else reads the projections, too")


def _packed(
    parts: Sequence[Heads], name: str, order: Order
) -> tuple[Builder, ir.Value, Loss | None]:
    """q, k, v side by side [B, S, N]: the value they were split from, or one product for all."""
    sources = list(dict.fromkeys(part.source for part in parts))
    columns = _columns(parts, sources)
    if len(sources) == 1 and columns is None and rank(sources[0]) == 3:
        first = min((node for part in parts for node in part.nodes), key=order.__getitem__)
        return Builder(first), sources[0], None
    projections = [node for source in sources if (node := linear(source)) is not None]
    if len(projections) != len(sources):
        raise Miss("queries, keys or values are not matmuls with constant weights")
    b = Builder(min(projections, key=order.__getitem__))
    qkv, loss = merged(b, projections, name, columns)
    return b, qkv, loss


def _columns(parts: Sequence[Heads], sources: list[ir.Value]) -> np.ndarray | None:
    """Where q, k and v are among the columns of their sources, side by side; None: in order."""
    widths = [dim(source, -1) or 0 for source in sources]
    starts = dict(zip(sources, np.cumsum([0, *widths]), strict=False))
    found = np.concatenate([starts[part.source] + part.columns.reshape(-1) for part in parts])
    if len(np.unique(found)) < len(found):
        raise Miss("queries, keys and values share columns of a projection")
    return None if np.array_equal(found, np.arange(sum(widths))) else found


def _written(
    b: Builder, qkv: ir.Value, layer: Layer, steps: Steps, counts: dict[str, Any]
) -> Sequence[ir.Value]:
    """The queries, and the states with the keys and the values."""
    states = needed(layer.keys, 0), needed(layer.values, 0)
    normed = {**counts, "eps": steps.eps} if steps.norms else {}
    if steps.norms and not steps.norms_last:
        overload = "centered" if steps.centered else "whole" if steps.whole else ""
        vectors = steps.vectors(b)
        qkv = b.op("NormHeads", qkv, *vectors, domain=DOMAIN, overload=overload, **normed)
    if steps.rope is None:
        past = needed(layer.keys, 2)
        return b.ops("SplitKvWrite", 3, qkv, *states, past, domain=DOMAIN, **counts)
    inputs = (qkv, *steps.rope.inputs[1:3], *states, *steps.rope.inputs[3:])
    if steps.norms_last:
        inputs = (*inputs, *steps.vectors(b))
        return b.ops("RopeKvWrite", 3, *inputs, domain=DOMAIN, overload="normed", **normed)
    overload = steps.rope.overload
    return b.ops("RopeKvWrite", 3, *inputs, domain=DOMAIN, overload=overload, **counts)


def _count_tokens_of(x: ir.Value, state: ir.Value) -> None:
    """What reads a state counts its tokens by x, since nothing else is left of the old heads."""
    for node, _ in state.uses():
        if is_op(node, "KvRead"):
            node.replace_input_with(1, x)


def _put(b: Builder, q: ir.Value, queries: Queries) -> None:
    """The new queries in place of the old ones."""
    old = queries.path[-1]
    node, index = old.producer(), old.index() or 0
    assert node is not None
    new = b.op("Transpose", q, perm=SWAP_HEADS_TOKENS) if queries.swapped else q
    replace(node, *[None] * index, new)
