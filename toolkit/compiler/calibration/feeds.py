"""What a decoder's inputs get for ids that continue a text: ids, counters, masks, caches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_passes.analysis.roles import Roles, roles_of
from onnx_passes.analysis.uses import WRITTEN, caches
from onnx_passes.canonicalize_dims import PLANES
from onnx_passes.choose_branches import noted_flag
from onnx_passes.count_inputs import CLOSED
from onnx_passes.ir.graph import dim

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Feeds:
    """Those of one graph, original or after any pass.

    types     of its inputs, as numpy calls them, by name
    declared  their shapes: numbers, and anything else for what is open
    slots     the axis of the tokens of every cache that is written into
    """

    roles: Roles
    inputs: Mapping[str, ir.Value]
    types: Mapping[str, str]
    declared: Mapping[str, Sequence[Any]]
    slots: Mapping[str, int]
    flag: str | None

    @classmethod
    def of(
        cls, model: ir.Model, types: Mapping[str, str], declared: Mapping[str, Sequence[Any]]
    ) -> Self:
        """Of a model whose roles are known."""
        inputs = {v.name: v for v in model.graph.inputs if v.name}
        return cls(roles_of(model), inputs, types, declared, slots_of(model), noted_flag(model))

    @classmethod
    def declared_by(cls, model: ir.Model) -> Self:
        """Of a graph in memory, by the types and shapes that it declares."""
        known = [v for v in model.graph.inputs if v.name and v.dtype is not None]
        types = {str(v.name): str(np.dtype(v.dtype.numpy())) for v in known if v.dtype is not None}
        return cls.of(model, types, {str(v.name): tuple(v.shape or ()) for v in known})

    def begin(self, ids: list[int]) -> dict[str, Array]:
        """Every input, for ids that begin a text."""
        return self.all(ids, 0, {past: self.empty(past) for past in self.slots})

    def all(self, ids: list[int], past: int, state: Mapping[str, Array]) -> dict[str, Array]:
        """Every input, for ids after `past` that are in the caches `state`."""
        return {
            name: self.grown(name, state[name], past + len(ids))
            if name in state
            else self.counted(name, ids, past)
            for name in self.types
        }

    def grown(self, name: str, cache: Array, total: int) -> Array:
        """A cache; one that is written into gets room for `total` tokens first."""
        if name not in self.slots:
            return cache
        more = [(0, 0)] * cache.ndim
        more[self.slots[name]] = 0, total - cache.shape[self.slots[name]]
        return np.pad(cache, more)

    def counted(self, name: str, ids: list[int], past: int) -> Array:
        """An input that is no cache."""
        declared, seq, total = self.declared[name], len(ids), past + len(ids)
        fixed = name == self.roles.mask and isinstance(declared[-1], int)
        keys = declared[-1] if fixed else total
        batch = dim(self.inputs[self.roles.tokens], 0) or 1
        planes = [d if isinstance(d, int) else PLANES for d in declared[:-2]]
        found: dict[str | None, tuple[npt.ArrayLike, Sequence[int]]] = {
            self.roles.tokens: (ids, [batch, seq]),
            self.roles.positions: (range(past, total), [*planes, batch, seq]),
            self.roles.mask: (np.arange(keys) < total, [batch, keys]),
            self.roles.written: (past, [batch]),
            self.roles.lengths: (total, [batch]),
            self.roles.places: (range(past, total), [seq]),
            self.flag: (past > 0, declared),
            "past": (past, [1]),
            "start": (0, [batch]),
            "rows": (seq, [1]),
        }
        if name == self.roles.mask and len(declared) == 4:
            found[name] = self._seen(seq, keys, past, name), [batch, 1, seq, keys]
        # no node reads any other: only its type and rank must be right
        free = [d if isinstance(d, int) else 1 for d in declared]
        nothing = "" if self.types[name] == "object" else 0
        numbers, shape = found.get(name, (nothing, free))
        return np.broadcast_to(np.asarray(numbers).astype(self.types[name]), shape)

    def _seen(self, seq: int, keys: int, past: int, name: str) -> Array:
        """A causal mask as `count_inputs` reads it: floats are added to the scores."""
        seen = np.tril(np.ones((seq, keys)), past)
        return (seen - 1) * -CLOSED if "float" in self.types[name] else seen

    def empty(self, past: str) -> Array:
        """A cache of no token."""
        value = self.inputs[past]
        shape = [d if isinstance(d, int) else 0 for d in value.shape or ()]
        if past in self.slots:
            shape[self.slots[past]] = 0
        return np.zeros(shape, self.types[past])


def slots_of(model: ir.Model) -> dict[str, int]:
    """The axis of the tokens of every cache that is written into."""
    return {c.past: c.axis for c in caches(model.graph) if c.node.op_type == WRITTEN}
