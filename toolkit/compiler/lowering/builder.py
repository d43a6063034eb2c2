"""Lowering: each node of the rewritten graph becomes dispatches of kernels, once for every phase.

A phase is the same graph with its own bounds (`decode`: seq = 1), so that each gets the kernels
that suit it. The table LOWERINGS (table.py) has the lowering of each op; offsets in memory are
chosen later (memory/).
"""

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import onnx_ir as ir
import sympy

from onnx_passes.ir.dims import as_expr
from opencl_kernels import FAMILIES, Argument
from opencl_kernels.case import At
from opencl_kernels.formats import dtype_bytes
from toolkit.compiler.lowering.drafts import (
    AnyDraft,
    Draft,
    GatherDraft,
    PrefetchDraft,
    with_joint_maps,
)
from toolkit.compiler.lowering.fits import Extent, check_fit
from toolkit.compiler.lowering.products.pairs import with_pairs
from toolkit.compiler.lowering.records.unit import unit_of
from toolkit.compiler.lowering.variants import Programs, Settings, variants_of
from toolkit.compiler.views.view import View
from toolkit.compiler.weights.experts import TabledExperts
from toolkit.compiler.weights.records import AnyTabled
from toolkit.compiler.weights.table import UNSUPPORTED, WeightTable
from toolkit.errors import PocketError
from toolkit.plan.expr import Box, Expr, product, symbol
from toolkit.plan.schema import (
    Buffer,
    Dispatch,
    First,
    Gather,
    Prefetch,
    Ref,
    Scratch,
    Step,
    refs_of,
    with_dispatches,
)

Substitution = Mapping[sympy.Symbol, sympy.Expr]


@dataclass(frozen=True)
class Location:
    """The memory of a value, its element type, and whether only its last `rows` are meant."""

    ref: Ref
    dtype: str
    last_rows: bool = False


class Memory(Protocol):
    """What a kernel reads: a Location, or what becomes one when it is read."""

    @property
    def ref(self) -> Ref:
        """Where it lies."""

    @property
    def dtype(self) -> str:
        """Its element type."""


@dataclass(frozen=True)
class PendingNorm:
    """A norm that the products which read it will compute."""

    x: Memory
    gamma: ir.Value
    eps: float
    centred: bool = False  # a LayerNorm
    beta: ir.Value | None = None


@dataclass
class PhaseBuilder:
    """Collects scratch and steps while the nodes of one phase are lowered."""

    name: str
    settings: Settings
    weights: WeightTable
    programs: Programs
    buffers: Sequence[Buffer]  # of the plan
    joining: Container[tuple[str, str]]  # domain and op of nodes whose outputs are Views
    at: Substitution  # symbols that are fixed in this phase
    box: Box  # bounds of the symbols in this phase
    locations: dict[ir.Value, Location] = field(default_factory=dict)
    results: Mapping[ir.Value, Location] = field(default_factory=dict)  # where outputs must lie
    views: dict[ir.Value, View] = field(default_factory=dict)  # of values that nobody stored
    scratch: list[Scratch] = field(default_factory=list)
    steps: list[AnyDraft] = field(default_factory=list)
    done: set[ir.Node] = field(default_factory=set)  # nodes that are fused into an earlier one
    norms: dict[ir.Value, PendingNorm] = field(default_factory=dict)  # fused into their readers
    originals: dict[ir.Value, ir.Value] = field(default_factory=dict)  # copies are stored as these
    # nodes of networks whose weights lie in flash, and embeddings
    tabled: Mapping[ir.Node, AnyTabled] = field(default_factory=dict, repr=False)
    # of networks of experts that lie in flash: which ones are chosen, and the first product
    chosen: dict[TabledExperts, Location] = field(default_factory=dict, repr=False)
    opened: dict[TabledExperts, Draft] = field(default_factory=dict, repr=False)

    def dims(self, value: ir.Value) -> list[sympy.Expr]:
        """The value's shape in this phase."""
        assert value.shape is not None, f"{value.name} has no shape"
        return [as_expr(d).xreplace(dict(self.at)) for d in value.shape]

    def rows(self, value: ir.Value) -> sympy.Expr:
        """Rows of the value as a matrix: all of its dimensions but the last."""
        return sympy.sympify(sympy.prod(self.dims(value)[:-1]))

    def tokens(self, value: ir.Value) -> sympy.Expr:
        """Tokens of a value [batch, seq, heads, width]."""
        batch, positions, _, _ = self.dims(value)
        return batch * positions

    def location(self, value: ir.Value | None) -> Location:
        """The location of an input; raises if it is not computed on the device."""
        assert value is not None
        if value not in self.locations:
            because = "only token ids and KV caches may be read as inputs"
            raise PocketError(f"{value.name} is read as an input", because, UNSUPPORTED)
        return self.locations[value]

    def output(
        self, value: ir.Value, shape: list[sympy.Expr] | None = None, dtype: str = ""
    ) -> Location:
        """New scratch for a value, of floats if no type is given; results have their place."""
        if value not in self.results:
            dtype = dtype or self.float_type(value)
            shape = self.dims(value) if shape is None else shape
            self.locations[value] = Location(self.temporary(value.name or "", dtype, shape), dtype)
        else:
            self.locations[value] = self.results[value]
        return self.locations[value]

    def floats_of(self, value: ir.Value) -> str:
        """The type that a value of floats is stored in."""
        placed = self.results.get(value)
        return self.float_type(value) if placed is None else placed.dtype

    def float_type(self, value: ir.Value) -> str:
        """The type of a value's floats between kernels: halves where they are small enough."""
        name = self.originals.get(value, value).name
        return "f32" if name in self.settings.wide else self.settings.activations

    def temporary(self, name: str, dtype: str, shape: Sequence[Any]) -> Ref:
        """New scratch for data that is no value of the graph."""
        size = sympy.prod(shape) * dtype_bytes(dtype)
        self.scratch.append(Scratch(name, dtype, tuple(shape), size))
        return ("scratch", len(self.scratch) - 1)

    def buffer(self, name: str) -> Ref:
        """A buffer of the plan by name."""
        return ("buffer", [buffer.name for buffer in self.buffers].index(name))

    def emit(self, name: str, family_name: str, case: Any, refs: Mapping[str, Ref]) -> None:
        """Append a dispatch of a family on a case; `refs` are its arguments by name."""
        self.steps.append(self.draft(name, family_name, case, refs))

    def draft(self, name: str, family_name: str, case: Any, refs: Mapping[str, Ref]) -> Draft:
        """One that isn't appended."""
        return Draft(name, family_name, replace(case, at=self._symbols()), {**refs})

    def dispatch(self, draft: Draft) -> Dispatch:
        """The dispatch of a draft, with its kernels."""
        name, family, arguments = draft.name, FAMILIES[draft.family], draft.arguments
        extents = {
            a.name: self._extent(draft.refs[a.name]) for a in arguments if _is_sized(draft, a)
        }
        check_fit(name, arguments, extents, self.box)
        args: list[Ref] = [("symbols",), *(draft.refs[each.name] for each in arguments)]
        roles = [family.symbols, *(each.role for each in arguments)]
        writes = [i for i, role in enumerate(roles) if role in ("out", "inout")]
        variants = variants_of(name, family, draft.case, self.settings, self.programs)
        return Dispatch(0, name, tuple(args), tuple(writes), variants)

    def gather(self, draft: GatherDraft) -> Gather:
        """The gather of a draft, with the kernels of its dispatches."""
        dispatches = tuple(map(self.dispatch, draft.drafts))
        choose = None if draft.choose is None else self.dispatch(draft.choose)
        facts = (draft.name, draft.table, draft.parts, draft.select)
        unit, first = unit_of(draft.drafts), None
        if draft.first is not None:
            inside = tuple(map(self.dispatch, draft.first.drafts))
            first = First(draft.first.parts, inside, draft.first.select)
        return Gather(0, *facts, dispatches, draft.tile, choose, draft.whole, first, unit)

    def prefetch(self, draft: PrefetchDraft) -> Prefetch:
        """The same of a prefetch."""
        dispatches = tuple(map(self.dispatch, draft.drafts))
        return Prefetch(0, draft.name, draft.table, draft.select, dispatches)

    def _extent(self, ref: Ref) -> Extent:
        """Type and number of elements of an argument's memory."""
        kind, index = ref[0], int(ref[-1])
        if kind == "weight":
            source = self.weights.sources[index]
            return Extent(source.dtype, math.prod(source.shape))
        memory = self.scratch[index] if kind == "scratch" else self.buffers[index]
        return Extent(memory.dtype, sympy.sympify(product(memory.shape)).xreplace(dict(self.at)))

    def elements(self, ref: Ref) -> Expr:
        """How many elements the memory has."""
        return self._extent(ref).elements

    def _symbols(self) -> At:
        """The values in this phase of the symbols that shapes of arguments depend on."""
        at = dict(self.at)
        seq, past, rows = (symbol(name).xreplace(at) for name in ("seq", "past", "rows"))
        return At(seq, past, rows)


def compact(builder: PhaseBuilder) -> tuple[tuple[Scratch, ...], tuple[Step, ...]]:
    """Scratch (without offsets yet) and steps, without the scratch that no step uses."""
    drafts = with_pairs(with_joint_maps(builder.steps), builder.settings)
    found = [_step_of(builder, draft) for draft in drafts]
    refs = {ref for step in found for ref in refs_of(step)}
    used = sorted(int(ref[-1]) for ref in refs if ref[0] == "scratch")
    renumber = {old: new for new, old in enumerate(used)}
    steps = tuple(_renumbered(step, renumber) for step in found)
    return tuple(builder.scratch[i] for i in used), steps


def _step_of(builder: PhaseBuilder, draft: AnyDraft) -> Step:
    if isinstance(draft, Draft):
        return builder.dispatch(draft)
    if isinstance(draft, PrefetchDraft):
        return builder.prefetch(draft)
    return builder.gather(draft) if isinstance(draft, GatherDraft) else draft


def _renumbered(step: Step, numbers: Mapping[int, int]) -> Step:
    """A step whose scratch has other numbers."""

    def changed(ref: Ref) -> Ref:
        return ("scratch", numbers[int(ref[-1])]) if ref[0] == "scratch" else ref

    def with_args(dispatch: Dispatch) -> Dispatch:
        return replace(dispatch, args=tuple(map(changed, dispatch.args)))

    if isinstance(step, Gather | Prefetch):
        source = step.select.source
        select = replace(step.select, source=None if source is None else changed(source))
        step = replace(step, select=select)
    return with_dispatches(step, with_args)


def _is_sized(draft: Draft, argument: Argument) -> bool:
    """Whether an argument's memory has a size here: what a gather hands over is as its table."""
    return draft.refs[argument.name][0] not in ("ticket", "slots", "rule")


def label(node: ir.Node) -> str:
    """The name of a node's dispatch for people: that of its output."""
    return (node.outputs[-1].name or node.op_type).strip("/")
