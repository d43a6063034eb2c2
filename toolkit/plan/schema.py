"""The plan: what a compile writes and an executor runs, as frozen values.

Each class is one kind of JSON object and each field one key of plan.json (text.py). An index
("program": 5) counts lines of the list of that name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from toolkit.plan.expr import Box, Expr

FORMAT = 2
WEIGHT_ALIGN = 16384
DTYPE_BYTES = {"f32": 4, "f16": 2, "i32": 4, "i64": 8, "u32": 4, "u8": 1}
FEATURES = ("fp16", "subgroups", "shuffles", "images", "int_dot")
# Of a program's build. A plan comes from elsewhere: these change what numbers a kernel computes and
# nothing else, while some compilers have options that read or write files.
BUILD_OPTIONS = (
    "-cl-std=CL1.2",
    "-cl-std=CL2.0",
    "-cl-std=CL3.0",
    "-cl-mad-enable",
    "-cl-no-signed-zeros",
    "-cl-denorms-are-zero",
    "-cl-single-precision-constant",
    "-cl-unsafe-math-optimizations",
    "-cl-finite-math-only",
    "-cl-fast-relaxed-math",
    "-cl-uniform-work-group-size",
)
UPDATES = ("append", "once", "replace")  # of a state
STATE_LAYOUTS = ("dense",)  # row-major, without gaps
HOST_OPS: dict[str, tuple[str, ...]] = {"fetch": ("buffer",)}  # built-in -> kinds of its arguments

# ("symbols",) or (kind, index): ("scratch", 3), ("weight", 12), ("buffer", 0)
Ref: TypeAlias = tuple[str] | tuple[str, int]


@dataclass(frozen=True)
class SymbolDecl:
    """An integer that changes between runs, or a vector of them: one for each text of a batch.

    Kernels read it at `slot` of the int32 symbols buffer, a vector from there on. Sizes and bounds
    of phases are said in scalars only: a vector has no one value.
    """

    name: str
    kind: str  # "input": bound by the host, "count": written by a kernel
    min: int
    max: int
    slot: int
    length: int | None = None  # of a vector; a scalar has none

    @property
    def end(self) -> int:
        """The slot after its last one."""
        return self.slot + (1 if self.length is None else self.length)


@dataclass(frozen=True)
class Buffer:
    """Memory that outlives a phase: an input, an output or a state."""

    name: str
    kind: str  # "input" | "output" | "state"
    dtype: str
    shape: tuple[Expr, ...]
    bytes: int


@dataclass(frozen=True)
class State:
    """What a buffer of kind state keeps from one run to the next, and how it changes.

    append   each token adds a slice along `axis`, and leaves what it has; where `capacity` is below
             the context, position p lies in slot p % capacity
    once     written before the first token of a text and not again
    replace  each step writes all of it; of `versions` that take turns, the shape's first axis, step
             n reads (n - 1) % versions and writes n % versions
    """

    buffer: int
    group: str  # what belongs together: a layer
    part: str  # of the group: its keys, their scales
    update: str
    axis: int | None = None  # of the buffer's shape: the one of tokens, if it has one
    capacity: int | None = None  # tokens along that axis
    layout: str = "dense"
    versions: int = 1


@dataclass(frozen=True)
class Weight:
    """A packed tensor: bytes `offset` … `offset + bytes` of a weights file."""

    name: str
    dtype: str
    layout: str
    shape: tuple[int, ...]
    file: int
    offset: int
    bytes: int


@dataclass(frozen=True)
class FileEntry:
    """A file of the plan folder, plan.json excepted."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Program:
    """One build: `#define` lines, then the text of `source`; `kernel` is the function to run.

    `options` are among BUILD_OPTIONS. What `defines` came from is for people and `pocketcl tune`:
    no executor reads it.
    """

    source: str
    kernel: str
    defines: tuple[tuple[str, str], ...]
    case: Mapping[str, Any] | None = field(default=None, compare=False)  # sizes and storage
    knobs: Mapping[str, int] | None = field(default=None, compare=False)  # those found by tuning
    options: tuple[str, ...] = field(default=(), metadata={"unless_empty": True})


@dataclass(frozen=True)
class DriverFault:
    """What a driver is known to get wrong, and what is therefore not used with it.

    compiler, since, before  as in CL_DRIVER_VERSION: "Compiler E031.47.18.36" is E031 of version
                             47.18.36; without bounds it is every version
    without                  features, kernels and options of builds: a variant that needs one of
                             them is passed over
    """

    compiler: str
    fault: str  # and its source, for people
    without: tuple[str, ...] = field(default=(), metadata={"unless_empty": True})
    since: str = field(default="", metadata={"key": "from", "unless_empty": True})
    before: str = field(default="", metadata={"unless_empty": True})


@dataclass(frozen=True)
class Variant:
    """One way to run a dispatch; `requires` names device features (FEATURES).

    local_bytes  what a work-group takes of local memory; not written where it takes none
    cut          the axis along which it may be launched in pieces with offsets, if there is one
    """

    program: int
    global_size: tuple[Expr, ...] = field(metadata={"key": "global"})
    local_size: tuple[int, ...] = field(metadata={"key": "local"})
    requires: tuple[str, ...] = ()
    local_bytes: int | None = None
    cut: int | None = None


@dataclass(frozen=True)
class Dispatch:
    """A kernel launch; variants stand in order of preference and share arguments and storage.

    microseconds  that it takes on the plan's device where every symbol is at its bound, predicted:
                  by it executors bound what they give a device at once
    """

    kind: ClassVar[str] = "dispatch"
    queue: int
    name: str
    args: tuple[Ref, ...]
    writes: tuple[int, ...]  # indices into args
    variants: tuple[Variant, ...]
    microseconds: int | None = None


@dataclass(frozen=True)
class HostStep:
    """A named built-in of the executor, among HOST_OPS.

    fetch  hands a buffer to whoever runs the phase: it is what the phase gives
    """

    kind: ClassVar[str] = "host"
    op: str
    args: tuple[Ref, ...]
    writes: tuple[int, ...] = ()  # indices into args
    params: Mapping[str, Any] = field(default_factory=dict)  # numbers and words; no op has any yet
    queue: int = 0


@dataclass(frozen=True)
class WaitStep:
    """Wait until everything in the queue has finished."""

    kind: ClassVar[str] = "wait"
    queue: int = 0


Step: TypeAlias = Dispatch | HostStep | WaitStep
STEPS: dict[str, type[Step]] = {s.kind: s for s in (Dispatch, HostStep, WaitStep)}


@dataclass(frozen=True)
class Scratch:
    """Memory of one phase, placed in the arena; `bytes` is `size` at its largest."""

    name: str
    dtype: str
    shape: tuple[Expr, ...]
    size: Expr
    bytes: int = 0
    offset: int | None = None  # None until memory.place_phase


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
        """The kernel launches among the steps."""
        return [step for step in self.steps if isinstance(step, Dispatch)]

    def fetched(self) -> frozenset[int]:
        """The buffers that it hands over."""
        fetches = (s for s in self.steps if isinstance(s, HostStep) and s.op == "fetch")
        return frozenset(int(ref[-1]) for step in fetches for ref in step.args)


@dataclass(frozen=True)
class Fill:
    """What an argument holds before a test, in `rows` runs of `count` elements, `stride` apart.

    Element i of all runs is low + hash(i + 65537 * arg) % span, of floats in 64ths, where the hash
    is that of toolkit/compiler/vectors/drawn.py; or `words`: 32 bits each, of a single run.
    """

    arg: int
    count: int
    low: int = 0
    span: int = 1
    rows: int = 1
    stride: int = 0
    words: tuple[int, ...] = field(default=(), metadata={"unless_empty": True})


@dataclass(frozen=True)
class Expected:
    """What a test finds in an argument: of such runs, from element `first` on, sums by which two
    arrays can be told apart.

    size  the root of the sum of their squares; 0: every sum is exact
    sums  of all elements, with the sign that bit j of hash(i) says in sum j; in 4096ths of `size`,
          where it isn't 0
    """

    arg: int
    count: int
    size: float
    sums: tuple[int, ...]
    first: int = 0
    rows: int = 1
    stride: int = 0


@dataclass(frozen=True)
class KernelTest:
    """A dispatch with made-up inputs, and what it computes: the same by each of its variants.

    symbols  a value for each; a vector has it in all its elements
    after    the test that ran just before, of the same phase: what isn't filled is as it was left
    """

    phase: int
    step: int
    symbols: tuple[int, ...]
    fills: tuple[Fill, ...]
    expected: tuple[Expected, ...]
    after: int | None = None


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
