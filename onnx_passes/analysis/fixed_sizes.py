"""Sizes that the exporter fixed although they vary from call to call: what it says of its inputs.

A graph that computes them from its inputs serves every length all the same. Where it has them in
its constants, it can't be compiled, and what is declared is the reason.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir

from onnx_passes.analysis.roles import Roles
from onnx_passes.analysis.uses import SCATTERED, WRITTEN, caches, slots
from onnx_passes.ir.graph import GraphError, SizeError

_KEY = "pocket_fixed_sizes"


def note_fixed_sizes(model: ir.Model, roles: Roles, batch: int) -> None:
    """Keep what is declared; called before dimensions get our symbols."""
    model.meta[_KEY] = ", ".join(_declared(model.graph, roles, batch))


def fixed_sizes(model: ir.Model) -> str:
    """Inputs with their fixed shapes, in words; "" where all that varies is left open."""
    found: str = model.meta.get(_KEY, "")
    return found


@contextmanager
def naming_fixed_sizes(model: ir.Model) -> Iterator[None]:
    """Where shapes contradict each other and sizes were fixed, say that this is why."""
    try:
        yield
    except SizeError as error:
        fixed = fixed_sizes(model)
        raise exported_for(fixed, error.because) if fixed else error from None


def exported_for(fixed: str, because: str) -> GraphError:
    """The error for a graph that has fixed sizes in its constants."""
    hint = "export it again with dynamic axes for batch, sequence, past and total length"
    return GraphError(f"the model is exported for fixed sizes: {fixed}", because, hint)


def _declared(graph: ir.Graph, roles: Roles, batch: int) -> Iterator[str]:
    """Every input of a role that fixes a size, and the first cache for all of them."""
    found = [cache for cache in caches(graph) if cache.node.op_type in (WRITTEN, *SCATTERED)]
    tokens, whole = {cache.past: cache.axis for cache in found}, slots(graph)
    first = {past for past, _ in roles.cache[:1]}
    for value in graph.inputs:
        if value.name not in {roles.tokens, roles.positions, roles.mask, *first}:
            continue
        dims = list(value.shape or ())
        if value.name in tokens:
            given = tuple(
                axis for axis in range(1, len(dims)) if whole or axis != tokens[value.name]
            )
        elif value.name in first:
            given = (1, 3)  # heads, and their width
        else:  # a mask for all heads; positions of time, height and width
            given = {4: (1,), 3: (0,)}.get(len(dims), ())
        if value.name == roles.mask and dims and dims[-1] == whole:  # a column for every slot
            given = (*given, len(dims) - 1)
        varying = [(axis, d) for axis, d in enumerate(dims) if axis not in given]
        if any(isinstance(d, int) and (axis > 0 or d != batch) for axis, d in varying):
            names = [str(d) if isinstance(d, int) else "…" for d in dims]
            yield f"{value.name} [{', '.join(names)}]"
