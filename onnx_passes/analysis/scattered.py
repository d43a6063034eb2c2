"""Caches of fixed size that new tokens are scattered into, behind those that are there.

So torch exports transformers' static caches: `index_copy` and `index_put` become a ScatterND or a
ScatterElements, whose indices are known by evaluation, however they are spelled.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.ir.dims import evaluated
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import GraphError, attribute, needed
from onnx_passes.ir.rules import Miss

_SIZES = ((1, 0), (3, 0), (2, 5), (1, 9))  # seq, past


def check_scattered(model: ir.Model, node: ir.Node, axis: int) -> int:
    """The slots of what a node scatters new tokens into, along `axis`; a Miss unless it does.

    Raises:
        GraphError: the context is longer.
    """
    data, index, updates = (needed(node, i) for i in range(3))
    dims = list(data.shape or ())
    sizes, context = [d for d in dims if isinstance(d, int)], Facts.of(model).context
    if (reduction := attribute(node, "reduction", "none")) != "none":
        raise Miss(f"it joins new tokens with what is cached (reduction {reduction})")
    if len(sizes) != 4 or len(dims) != 4:
        raise Miss(f"it writes into {data.shape}, not [batch, kv_heads, slots, head_dim]")
    piece = Subgraph(model, [index])
    for seq, past in _SIZES:
        if past + seq > sizes[axis]:
            continue
        shape = [evaluated(d, {"seq": seq, "past": past}) for d in updates.shape or ()]
        (at,) = piece.run(seq, past)
        if not _is_behind(node, sizes, axis, (seq, past), at, shape):
            raise Miss("it writes elsewhere than behind what is cached")
    if context > sizes[axis]:
        raise GraphError(
            f"the caches have room for {sizes[axis]} tokens",
            f"the exporter fixed that: {node.op_type} {node.name} writes into {data.shape}",
            f"--max-context {sizes[axis]} fits",
        )
    return sizes[axis]


def _is_behind(
    node: ir.Node,
    sizes: Sequence[int],
    axis: int,
    tokens: tuple[int, int],
    index: np.ndarray,
    shape: Sequence[int],
) -> bool:
    """Whether numbers of this shape go, in order, to slots past .. past + seq - 1."""
    (seq, past), new = tokens, 1 + np.arange(np.prod(shape, dtype=int)).reshape(shape)
    rows = [*sizes[:axis], seq, *sizes[axis + 1 :]]
    if new.size != np.prod(rows):
        return False
    found, expected = np.zeros(sizes, int), np.zeros(sizes, int)
    np.moveaxis(expected, axis, 0)[past : past + seq] = np.moveaxis(new.reshape(rows), axis, 0)
    try:
        if node.op_type == "ScatterND":
            found[tuple(np.moveaxis(index, -1, 0))] = new
        else:
            np.put_along_axis(found, index, new, attribute(node, "axis", 0))
    except (IndexError, ValueError):  # it writes beyond the slots, or in another form
        return False
    return np.array_equal(found, expected)
