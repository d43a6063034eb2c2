"""Tests of a plan's kernels: made-up inputs, and sums of what numpy makes of them."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Fill:
    """What an argument holds before a test, in `rows` runs of `count` elements, `stride` apart.

    Element i of all runs is low + hash(i + 65537 * arg + 40503 * first) % span, of floats in
    64ths, where the hash is that of toolkit/compiler/vectors/drawn.py; or `words`: 32 bits each, of
    a single run.

    first  where the first run begins
    dtype  of the elements, and of what `first` and `stride` count: of slots, whose records have
           numbers of several types; "": the argument's
    """

    arg: int
    count: int
    low: int = 0
    span: int = 1
    rows: int = 1
    stride: int = 0
    words: tuple[int, ...] = field(default=(), metadata={"unless_empty": True})
    first: int = field(default=0, metadata={"unless_empty": True})
    dtype: str = field(default="", metadata={"unless_empty": True})


@dataclass(frozen=True)
class Inside:
    """Which dispatch of a gather is tested, with a ticket and slots of its own.

    dispatch  its number among those of the gather: what fills the ticket, if there is any, is the
              first
    records   of the ticket, which begins a sum: the i-th has the index i before the table's last,
              and lies in slot i % slots
    slots     of which the ticket's records take turns
    """

    dispatch: int
    records: int
    slots: int


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
    inside   where the step is a gather
    """

    phase: int
    step: int
    symbols: tuple[int, ...]
    fills: tuple[Fill, ...]
    expected: tuple[Expected, ...]
    after: int | None = None
    inside: Inside | None = None
