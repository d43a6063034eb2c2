"""Phases, and the plan itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from toolkit.plan.expr import Box
from toolkit.plan.schema.kernel_tests import KernelTest
from toolkit.plan.schema.memory import Buffer, FileEntry, Scratch, State, SymbolDecl, Weight
from toolkit.plan.schema.programs import DriverFault, Program, Variant
from toolkit.plan.schema.steps import Dispatch, Gather, HostStep, Prefetch, Step, dispatches_of
from toolkit.plan.schema.tables import PlannedFlash, Point, Table

FORMAT = 2


@dataclass(frozen=True)
class Cooperative:
    """All dispatches of a phase as one launch of this program (toolkit/compiler/cooperative.py)."""

    program: int


@dataclass(frozen=True)
class Phase:
    """A straight list of steps, run with the symbols inside `bounds`; `graph` is what it computes.

    Who runs a plan takes the phase that gives what is wanted and whose bounds hold
    (phase_choice.py); the name is for people.
    """

    name: str
    graph: str
    bounds: Mapping[str, tuple[int, int]]
    recordable: bool
    scratch: tuple[Scratch, ...]
    steps: tuple[Step, ...]
    arena_bytes: int = 0
    lower_bound_bytes: int = 0
    cooperative: Cooperative | None = None  # another way to run the same dispatches

    def dispatches(self) -> list[Dispatch]:
        """The kernel launches of the steps, those inside of gathers among them."""
        return [each for step in self.steps for each in dispatches_of(step)]

    def gathers(self) -> list[Gather]:
        """The steps that read tables."""
        return [step for step in self.steps if isinstance(step, Gather)]

    def prefetches(self) -> list[Prefetch]:
        """The steps that begin to read early."""
        return [step for step in self.steps if isinstance(step, Prefetch)]

    def reads_for(self) -> list[tuple[Prefetch, Gather]]:
        """Each of them, and the gather that it reads for: the second one behind it."""
        found = []
        for number, step in enumerate(self.steps):
            if isinstance(step, Prefetch):
                behind = (each for each in self.steps[number:] if isinstance(each, Gather))
                found.append((step, list(islice(behind, 2))[-1]))
        return found

    def fetched(self) -> frozenset[int]:
        """The buffers that it hands over."""
        fetches = (s for s in self.steps if isinstance(s, HostStep) and s.op == "fetch")
        return frozenset(int(ref[-1]) for step in fetches for ref in step.args)


@dataclass(frozen=True)
class Plan:
    """A compiled model; everything but the contents of its files."""

    generator: str
    model: Mapping[str, Any]
    profile: Mapping[str, Any]
    symbols: tuple[SymbolDecl, ...]
    buffers: tuple[Buffer, ...]
    states: tuple[State, ...]
    weights: tuple[Weight, ...]
    files: tuple[FileEntry, ...]
    programs: tuple[Program, ...]
    phases: tuple[Phase, ...]
    drivers: tuple[DriverFault, ...] = field(default=(), metadata={"unless_empty": True})
    tests: tuple[KernelTest, ...] = field(default=(), metadata={"unless_empty": True})
    tables: tuple[Table, ...] = field(default=(), metadata={"unless_empty": True})
    points: tuple[Point, ...] = field(default=(), metadata={"unless_empty": True})
    flash: PlannedFlash | None = field(default=None, metadata={"unless_empty": True})
    format: int = FORMAT

    def phase(self, name: str) -> Phase | None:
        """The phase of this name, if the plan has it."""
        return next((p for p in self.phases if p.name == name), None)

    def needs(self, variant: Variant) -> frozenset[str]:
        """What a variant depends on, as DriverFault names it."""
        program = self.programs[variant.program]
        return frozenset((program.kernel, *program.options, *variant.requires))

    def box(self, phase: Phase | None = None) -> Box:
        """Bounds of every scalar symbol, narrowed by the phase."""
        scalars = {s.name: (s.min, s.max) for s in self.symbols if s.length is None}
        return scalars | dict(phase.bounds if phase else {})

    @property
    def slots(self) -> int:
        """How many integers the symbols buffer holds."""
        return max((symbol.end for symbol in self.symbols), default=0)
