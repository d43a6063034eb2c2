"""Tests of a plan's kernels: made-up inputs, and sums of what numpy makes of them."""

from dataclasses import dataclass, field


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
