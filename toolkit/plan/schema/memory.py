"""What a plan keeps in memory and on disk: symbols, buffers, states, weights, files."""

from dataclasses import dataclass

from toolkit.plan.expr import Expr

WEIGHT_ALIGN = 16384
DTYPE_BYTES = {"f32": 4, "f16": 2, "i32": 4, "i64": 8, "u32": 4, "u8": 1}
UPDATES = ("append", "once", "replace")  # of a state
STATE_LAYOUTS = ("dense",)  # row-major, without gaps


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
class Scratch:
    """Memory of one phase, placed in the arena; `bytes` is `size` at its largest."""

    name: str
    dtype: str
    shape: tuple[Expr, ...]
    size: Expr
    bytes: int = 0
    offset: int | None = None  # None until memory.place_phase
