"""A kind of model is a value: which models are of it, and what a plan of one consists of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from toolkit.compiler.lowering.builder import Location, PhaseBuilder, Substitution
from toolkit.compiler.options import Options
from toolkit.compiler.source import Source
from toolkit.plan.schema import Buffer, State, SymbolDecl

Wide = frozenset[str]  # names of values too large for halves


@dataclass(frozen=True)
class PhaseKind:
    """A phase: a graph with bounds of its own."""

    name: str
    graph: str  # for people: which graph of the model
    bounds: Mapping[str, tuple[int, int]]  # of symbols, narrower than the plan's
    fixed: Substitution  # symbols that have one value in it, or another's
    end: Callable[[PhaseBuilder], None]  # adds what follows the graph's own steps
    recordable: bool = False  # the same steps run often, with the same symbols' bounds


@dataclass(frozen=True)
class Frame:
    """What a plan has around the steps of its graph."""

    symbols: tuple[SymbolDecl, ...]
    buffers: tuple[Buffer, ...]
    states: tuple[State, ...]
    inputs: Mapping[ir.Value, Location]  # where the graph's inputs lie
    results: Mapping[ir.Value, Location]  # where its outputs go that are no states
    phases: tuple[PhaseKind, ...]
    facts: Mapping[str, Any]  # the plan's `model` entry


@dataclass(frozen=True)
class ModelKind:
    """Models that are run alike."""

    name: str  # as the plan says it
    fits: Callable[[ir.Model], bool]  # after the passes
    frame: Callable[[ir.Model, Source, Options, Wide], Frame]
