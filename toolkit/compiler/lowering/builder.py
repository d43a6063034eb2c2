"""Lowering: each node of the rewritten graph becomes dispatches of kernels, once for every phase.

A phase is the same graph with its own bounds (`decode`: seq = 1), so that each gets the kernels
that suit it. Which kernels serve which op is the table HANDLERS (table.py); where values lie
is decided later (memory/).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import onnx_ir as ir
import sympy

from onnx_passes.ir.dims import as_expr
from opencl_kernels import KERNELS
from opencl_kernels.formats import dtype_bytes
from opencl_kernels.kernel import Case, Kernel, Knobs, symbol_header
from opencl_kernels.tuned import Table, changed, knobs_for, least_local_bytes, usual_knobs
from toolkit.compiler.lowering.fits import Extent, check_fit
from toolkit.compiler.weights.table import UNSUPPORTED, WeightTable
from toolkit.errors import PocketError
from toolkit.plan.expr import Box, product, symbol
from toolkit.plan.schema import Buffer, Dispatch, Program, Ref, Scratch, Step, Variant

Substitution = Mapping[sympy.Symbol, sympy.Expr]


@dataclass(frozen=True)
class Place:
    """Where a value lies, its element type, and whether only its last `rows` are meant."""

    ref: Ref
    dtype: str
    last_rows: bool = False


@dataclass(frozen=True)
class Norm:
    """An RMSNorm that is left to the products which read it."""

    x: Place
    gamma: ir.Value
    eps: float


@dataclass
class Programs:
    """The distinct programs of a plan, by content."""

    index: dict[Program, int] = field(default_factory=dict)

    def add(self, program: Program) -> int:
        """Its number, new or known."""
        return self.index.setdefault(program, len(self.index))


@dataclass(frozen=True)
class Settings:
    """What is chosen once per compile."""

    device_class: str
    batch: int
    context: int
    activations: str  # storage of values between kernels: "f32" or "f16"
    kv: str  # storage of KV states
    compute_units: int  # of the device
    local_memory: int  # of the device: bytes that a work-group may take
    tuned: Table = field(default_factory=dict)  # knobs that were found by measuring


@dataclass
class PhaseBuilder:
    """Collects scratch and steps while the nodes of one phase are lowered."""

    name: str
    settings: Settings
    weights: WeightTable
    programs: Programs
    buffers: Sequence[Buffer]  # of the plan
    functions: Mapping[ir.OperatorIdentifier, ir.Function]  # bodies of elementwise chains
    at: Substitution  # symbols that are fixed in this phase
    box: Box  # bounds of the symbols in this phase
    places: dict[ir.Value, Place] = field(default_factory=dict)
    scratch: list[Scratch] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    done: set[ir.Node] = field(default_factory=set)  # nodes that an earlier one took along
    norms: dict[ir.Value, Norm] = field(default_factory=dict)  # that products begin with
    summed: set[ir.Node] = field(default_factory=set)  # AddRmsNorms whose sum a product ends with

    def dims(self, value: ir.Value) -> list[sympy.Expr]:
        """The value's shape in this phase."""
        assert value.shape is not None, f"{value.name} has no shape"
        return [as_expr(d).xreplace(dict(self.at)) for d in value.shape]

    def rows(self, value: ir.Value) -> sympy.Expr:
        """Rows of the value as a matrix: all of its dimensions but the last."""
        return sympy.prod(self.dims(value)[:-1])

    def tokens(self, value: ir.Value) -> sympy.Expr:
        """Tokens of a value [batch, seq, heads, width]."""
        batch, positions, _, _ = self.dims(value)
        return batch * positions

    def place(self, value: ir.Value | None) -> Place:
        """Where an input lies."""
        assert value is not None
        if value not in self.places:
            because = "only token ids and caches come from outside as data"
            raise PocketError(f"{value.name} is read as data", because, UNSUPPORTED)
        return self.places[value]

    def output(self, value: ir.Value, shape: list[sympy.Expr] | None = None) -> Place:
        """New scratch for a value."""
        dtype = self.settings.activations
        shape = self.dims(value) if shape is None else shape
        self.places[value] = Place(self.temporary(value.name or "", dtype, shape), dtype)
        return self.places[value]

    def temporary(self, name: str, dtype: str, shape: Sequence[Any]) -> Ref:
        """New scratch for what is no value of the graph."""
        size = sympy.prod(shape) * dtype_bytes(dtype)
        self.scratch.append(Scratch(name, dtype, tuple(shape), size))
        return ("scratch", len(self.scratch) - 1)

    def buffer(self, name: str) -> Ref:
        """A buffer of the plan by name."""
        return ("buffer", [buffer.name for buffer in self.buffers].index(name))

    def emit(self, name: str, family: str, case: Case, refs: Mapping[str, Ref]) -> None:
        """One dispatch: the kernels of `family` that this device may run, best first.

        A kernel that takes more local memory than the device has is left out; raises where that
        leaves none.
        """
        kernels = list(variants_of(family, self.settings.device_class))
        arguments = kernels[0].arguments(case)
        extents = {argument.name: self._extent(refs[argument.name]) for argument in arguments}
        check_fit(name, arguments, {**case, **self._sizes()}, extents, self.box)
        args: list[Ref] = [("symbols",), *(refs[argument.name] for argument in arguments)]
        writes = [
            i + 1 for i, argument in enumerate(arguments) if argument.role in ("out", "inout")
        ]
        if family == "sample":
            writes.insert(0, 0)  # it moves `past` on
        variants = tuple(filter(None, (self._variant(kernel, case) for kernel in kernels)))
        if not variants:
            raise _no_room(name, kernels, case, self.settings)
        self.steps.append(Dispatch(0, name, tuple(args), tuple(writes), variants))

    def _extent(self, ref: Ref) -> Extent:
        """What an argument of a dispatch holds."""
        kind, index = ref[0], int(ref[-1])
        if kind == "weight":
            source = self.weights.sources[index]
            return Extent(source.dtype, math.prod(source.shape))
        held = self.scratch[index] if kind == "scratch" else self.buffers[index]
        return Extent(held.dtype, sympy.sympify(product(held.shape)).xreplace(dict(self.at)))

    def _sizes(self) -> dict[str, sympy.Expr]:
        """The symbols, by the words that shapes of arguments have for them."""
        words = {"seq": symbol("seq"), "rows_n": symbol("rows")}
        return {word: size.xreplace(dict(self.at)) for word, size in words.items()}

    def _variant(self, kernel: Kernel, case: Case) -> Variant | None:
        """None where the device has too little local memory, whatever the knobs."""
        settings = self.settings
        usual = usual_knobs(kernel, case, settings.device_class, settings.local_memory)
        if usual is None:
            return None
        knobs = knobs_for(kernel, case, usual, settings.tuned, settings.local_memory)
        found = changed(knobs, usual)
        return variant_of(kernel, case, knobs, settings.batch, self.programs, found)


def variant_of(
    kernel: Kernel,
    case: Case,
    knobs: Knobs,
    batch: int,
    programs: Programs,
    tuned: Knobs | None = None,
) -> Variant:
    """A kernel on a case as a dispatch runs it; its program joins the others."""
    rows = {"M": c_expression(case["M"])} if "M" in case else {}
    defines = {**symbol_header(batch), **rows, **kernel.defines(case, knobs)}
    text = tuple((key, str(value)) for key, value in defines.items())
    program = Program(f"kernels/{kernel.source}", kernel.name, text, dict(case), tuned or None)
    global_size, local_size = kernel.grid(case, knobs)
    sizes = tuple(sympy.sympify(g) for g in global_size)
    local_bytes = kernel.local_bytes(case, knobs) or None
    return Variant(programs.add(program), sizes, tuple(local_size), local_bytes=local_bytes)


def variants_of(family: str, device_class: str) -> Iterator[Kernel]:
    """Kernels of one family: the class's own first, then the portable one."""
    own = KERNELS.get(f"{family}_{device_class}")
    portable = KERNELS.get(family.removesuffix("_quantized"))
    if own is not None:
        yield own
    if portable is not None and (device_class in portable.classes or "generic" in portable.classes):
        yield portable


def c_expression(expr: Any) -> str:
    """A count as C over the symbols of a program's header, e.g. "(2*SEQ)"."""
    names = {symbol(name): sympy.Symbol(name.upper()) for name in ("seq", "past", "rows")}
    return f"({sympy.sympify(expr).xreplace(names)})"


def compact(builder: PhaseBuilder) -> tuple[tuple[Scratch, ...], tuple[Step, ...]]:
    """Scratch (without offsets yet) and steps, less the scratch that no step touches."""
    dispatches = [step for step in builder.steps if isinstance(step, Dispatch)]
    used = sorted({int(ref[-1]) for step in dispatches for ref in step.args if ref[0] == "scratch"})
    renumber = {old: new for new, old in enumerate(used)}

    def moved(ref: Ref) -> Ref:
        return ("scratch", renumber[int(ref[-1])]) if ref[0] == "scratch" else ref

    steps = [
        replace(s, args=tuple(map(moved, s.args))) if isinstance(s, Dispatch) else s
        for s in builder.steps
    ]
    return tuple(builder.scratch[i] for i in used), tuple(steps)


def label(node: ir.Node) -> str:
    """What a person finds the dispatch by: the node's output."""
    return (node.outputs[-1].name or node.op_type).strip("/")


def _no_room(name: str, kernels: Sequence[Kernel], case: Case, settings: Settings) -> PocketError:
    """The error for a dispatch whose kernels all take too much local memory."""
    needed = ((least_local_bytes(k, case, settings.device_class), k.name) for k in kernels)
    because = ", ".join(f"{kernel} takes {least} bytes or more" for least, kernel in needed)
    return PocketError(
        f"no kernel for {name} fits into the device's local memory",
        f"{because}; the device has {settings.local_memory}",
        "--device of one that has more: local_memory in its profile (pocketcl devices --json)",
    )


def refusal(node: ir.Node, because: str) -> PocketError:
    """The error for a node that no kernel serves as it stands."""
    return PocketError(f"no kernel for {node.op_type} at {node.name}", because, UNSUPPORTED)
