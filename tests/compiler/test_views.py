"""Chains of movement and arithmetic on Views, against numpy: what their text says is evaluated.

Sizes are numbers and symbols; each chain is built once, over the symbols, and evaluated where they
have several values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from opencl_kernels.formats import Array
from opencl_kernels.map.expression import evaluate, parsed
from toolkit.compiler.lowering.dispatches import merged_axes
from toolkit.compiler.views.poly import Poly, Symbol, poly, product
from toolkit.compiler.views.scalar import Index, number
from toolkit.compiler.views.simplify import apply, index_of
from toolkit.compiler.views.view import (
    At,
    View,
    axes_of,
    concatenated,
    elementwise,
    expanded,
    in_memory,
    reshaped,
    shifted,
    transposed,
)
from toolkit.compiler.views.walks import sources

SEQ, PAST = Poly.of(Symbol("seq", 1, 9)), Poly.of(Symbol("past", 0, 9))
RUNS = ({"seq": 1, "past": 0}, {"seq": 1, "past": 3}, {"seq": 3, "past": 1}, {"seq": 5, "past": 4})
SIZES = (poly(1), poly(1), poly(2), poly(3), poly(4), SEQ, SEQ, PAST, PAST + SEQ)
LENGTH = 7  # steps of a chain


@dataclass(frozen=True, eq=False)
class Memory:
    """What a View loads from: in each run, an array."""

    name: str
    dtype: str
    arrays: tuple[Array, ...]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Value:
    """A View, and what it is in each run."""

    view: View
    arrays: tuple[Array, ...]

    @property
    def rank(self) -> int:
        return len(self.view.shape)


def numbers(shape: Any, run: int) -> tuple[int, ...]:
    """Sizes in a run."""
    return tuple(
        sum(k * int(np.prod([RUNS[run][f.name] for f in m])) for m, k in size.terms)
        for size in shape
    )


class Chain:
    """A random chain; `step` adds to it."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.memories = 0

    def chosen(self, options: Any) -> Any:
        return options[int(self.random.integers(len(options)))]

    def stored(self, shape: tuple[Poly, ...], dtype: str = "f32", high: int = 0) -> Value:
        """New memory of random elements; integers lie in -high .. high - 1."""
        arrays = []
        for run in range(len(RUNS)):
            sizes = numbers(shape, run)
            if dtype == "f32":
                arrays.append(self.random.standard_normal(sizes).astype(np.float32))
            else:
                arrays.append(self.random.integers(-high, high, sizes))
        self.memories += 1
        source = Memory(f"m{self.memories}", dtype, tuple(arrays))
        return Value(in_memory(source, shape), tuple(arrays))

    def built(self) -> Value:
        """A chain of some length; few elements, so that many chains run."""
        x = self.stored(tuple(self.chosen(SIZES) for _ in range(int(self.random.integers(1, 4)))))
        for _ in range(int(self.random.integers(1, LENGTH + 1))):
            made = self.chosen(STEPS)(self, x)
            if made is not None and max(a.size for a in made.arrays) < 2000 and made.rank < 7:
                x = made
        return x


def of(x: Value, view: View, make: Callable[[Array, int], Array]) -> Value:
    """A View of x, and the same of its arrays."""
    return Value(view, tuple(make(array, run) for run, array in enumerate(x.arrays)))


def transpose(c: Chain, x: Value) -> Value:
    perm = [int(p) for p in c.random.permutation(x.rank)]
    return of(x, transposed(x.view, perm), lambda a, _: np.transpose(a, perm))


def merge(c: Chain, x: Value) -> Value | None:
    """Some neighbours become one axis."""
    if x.rank < 2:
        return None
    k = int(c.random.integers(x.rank - 1))
    sizes = x.view.shape
    shape = (*sizes[:k], sizes[k] * sizes[k + 1], *sizes[k + 2 :])
    return of(x, reshaped(x.view, shape), lambda a, run: a.reshape(numbers(shape, run)))


def split(c: Chain, x: Value) -> Value | None:
    """An axis of a number becomes two; an axis of size 1 comes or goes."""
    k, sizes = int(c.random.integers(x.rank)) if x.rank else 0, x.view.shape
    size = sizes[k].number if x.rank else None
    if size is None or size < 2:
        shape = (*sizes[:k], poly(1), *sizes[k:])
    else:
        by = c.chosen([d for d in range(1, size + 1) if size % d == 0])
        shape = (*sizes[:k], poly(by), poly(size // by), *sizes[k + 1 :])
    return of(x, reshaped(x.view, shape), lambda a, run: a.reshape(numbers(shape, run)))


def flatten(c: Chain, x: Value) -> Value:
    shape = (product(x.view.shape),)
    return of(x, reshaped(x.view, shape), lambda a, _: a.reshape(-1))


def reshape_across(c: Chain, x: Value) -> Value | None:
    """All of it in other sizes, where it has a number of elements."""
    count = product(x.view.shape).number
    if not count:
        return None
    first = c.chosen([d for d in range(1, count + 1) if count % d == 0])
    shape = (poly(first), poly(count // first))
    return of(x, reshaped(x.view, shape), lambda a, run: a.reshape(numbers(shape, run)))


def cut(c: Chain, x: Value) -> Value | None:
    """A slice of an axis: of a number of elements or of symbols, forwards or backwards."""
    if not x.rank:
        return None
    k = int(c.random.integers(x.rank))
    size = x.view.shape[k]
    if size == PAST + SEQ:
        start, count = c.chosen([(poly(0), SEQ), (PAST, SEQ), (poly(0), PAST), (SEQ, PAST)])
        step = 1
    elif size.number is not None and size.number > 1:
        first, step = int(c.random.integers(size.number)), c.chosen([1, 1, 2, -1])
        start, count = poly(first), poly(len(range(size.number)[first::step]))
    else:
        start, count, step = size - 1, size, -1

    def make(a: Array, run: int) -> Array:
        first, long = numbers((start, count), run)
        return np.take(a, [first + step * i for i in range(long)], axis=k)

    return of(x, shifted(x.view, k, count, start, step), make)


def expand(c: Chain, x: Value) -> Value:
    sizes = tuple(c.chosen(SIZES) if s.number == 1 else s for s in x.view.shape)
    shape = (*([c.chosen(SIZES)] if c.random.random() < 0.3 else []), *sizes)
    return of(x, expanded(x.view, shape), lambda a, run: np.broadcast_to(a, numbers(shape, run)))


def concat(c: Chain, x: Value) -> Value | None:
    if not x.rank:
        return None
    k = int(c.random.integers(x.rank))
    other = c.stored((*x.view.shape[:k], c.chosen(SIZES), *x.view.shape[k + 1 :]))
    pair = [x, other] if c.random.random() < 0.5 else [other, x]
    view = concatenated([each.view for each in pair], k)
    return of(x, view, lambda _, run: np.concatenate([each.arrays[run] for each in pair], k))


def pad(c: Chain, x: Value) -> Value | None:
    """As movement.lower_pad reads it."""
    if not x.rank:
        return None
    k, before, after = (int(c.random.integers(n)) for n in (x.rank, 3, 3))
    shape = (*x.view.shape[:k], x.view.shape[k] + before + after, *x.view.shape[k + 1 :])

    def read(at: At) -> Any:
        place = Index(at[k] - before)
        inside = apply(
            "And",
            apply("GreaterOrEqual", place, number(0)),
            apply("Less", place, Index(x.view.shape[k])),
        )
        data = x.view.read([*at[:k], at[k] - before, *at[k + 1 :]])
        return apply("Where", inside, data, number(0.5))

    widths = [(before, after) if axis == k else (0, 0) for axis in range(x.rank)]
    view = View(shape, x.view.dtype, read)
    return of(x, view, lambda a, _: np.pad(a, widths, constant_values=0.5))


def gather(c: Chain, x: Value) -> Value | None:
    """Indices from memory, either side of zero."""
    fixed = [k for k, size in enumerate(x.view.shape) if size.number]
    if not fixed:
        return None
    k = c.chosen(fixed)
    size = x.view.shape[k]
    assert size.number is not None
    chosen = c.stored((c.chosen(SIZES),), "i64", size.number)

    def read(at: At) -> Any:
        return x.view.read([*at[:k], index_of(chosen.view.read([at[k]]), size), *at[k + 1 :]])

    view = View((*x.view.shape[:k], *chosen.view.shape, *x.view.shape[k + 1 :]), "f32", read)
    return of(x, view, lambda a, run: np.take(a, chosen.arrays[run], axis=k))


def arithmetic(c: Chain, x: Value) -> Value:
    """With new memory that broadcasts."""
    op, numpy = c.chosen([("Add", np.add), ("Mul", np.multiply), ("Max", np.maximum)])
    shape = tuple(c.chosen([s, s, poly(1)]) for s in x.view.shape)
    other = c.stored(shape[int(c.random.integers(len(shape) + 1)) :])
    view = elementwise(op, [x.view, other.view], "f32")
    return of(x, view, lambda a, run: numpy(a, other.arrays[run]))


def function(c: Chain, x: Value) -> Value:
    view = elementwise("Tanh", [x.view], "f32")
    return of(x, view, lambda a, _: np.tanh(a.astype(np.float64)))


STEPS = (
    *(transpose, transpose, merge, merge, split, split, flatten, reshape_across, cut, cut, expand),
    *(concat, pad, gather, arithmetic, function),
)


def texts(view: View) -> Iterator[tuple[list[Poly], str, list[Memory]]]:
    """Axes, text and memory: with an axis for each of the shape, and with those merged."""
    kept = [size for size in view.shape if size.number != 1]
    for sizes, at in ((kept, axes_of(view.shape)), merged_axes(view)):
        element = view.read(at)
        held = list(dict.fromkeys(sources(element)))
        names = {memory: f"a{n}" for n, memory in enumerate(held)}
        yield sizes, element.text(names.__getitem__), held


@pytest.mark.parametrize("group", range(12))
def test_chains(group: int) -> None:
    count = 0
    for seed in range(group * 40, group * 40 + 40):
        made = Chain(seed).built()
        if any(size.number == 0 for size in made.view.shape):
            continue
        for sizes, text, held in texts(made.view):
            if len(held) > 8 or len(sizes) > 9:
                continue
            root = parsed(text, [memory.dtype for memory in held])
            for run, symbols in enumerate(RUNS):
                expected = made.arrays[run]
                assert numbers(made.view.shape, run) == expected.shape
                if not expected.size:
                    continue
                grids = np.indices(numbers(sizes, run), sparse=True)
                known = {f"i{n}": grid for n, grid in enumerate(grids)}
                known |= {name: np.asarray(value) for name, value in symbols.items()}
                known |= {f"a{n}": m.arrays[run].reshape(-1) for n, m in enumerate(held)}
                known |= {name: padded(array) for name, array in known.items() if name[0] == "a"}
                with np.errstate(divide="ignore"):  # by a size of 0, where nothing is chosen
                    found = np.broadcast_to(evaluate(root, known), numbers(sizes, run))
                np.testing.assert_allclose(found.reshape(-1), expected.reshape(-1), rtol=1e-5)
                count += 1
    assert count > 100


def padded(array: Array) -> Array:
    """Memory of no element can be read where nothing is chosen."""
    return array if array.size else np.zeros(1, array.dtype)


def test_what_cannot_be_reshaped_says_so() -> None:
    x = View((SEQ, poly(3)), "f32", lambda _: number(0.0))
    with pytest.raises(ValueError, match=r"\[seq, 3\] cannot become \[seq, 4\]"):
        reshaped(x, (SEQ, poly(4)))


def text_of(view: View) -> str:
    (_, text, _), _ = texts(view)
    return text


def memory(*shape: Any) -> View:
    return in_memory(Memory("x", "f32", ()), tuple(map(poly, shape)))


def test_movement_that_cancels_leaves_nothing() -> None:
    x = memory(SEQ, 3, 32)
    turned = transposed(reshaped(x, (SEQ, poly(96))), [1, 0])
    back = reshaped(transposed(turned, [1, 0]), (SEQ, poly(3), poly(32)))
    assert text_of(back) == text_of(x) == "a0[96*i0 + 32*i1 + i2]"
    assert len(merged_axes(back)[0]) == 1


def test_heads_that_repeat_are_one_quotient() -> None:
    x = memory(2, 3, SEQ, 32)
    wide = expanded(
        reshaped(x, tuple(map(poly, (2, 3, 1, SEQ, 32)))), tuple(map(poly, (2, 3, 4, SEQ, 32)))
    )
    heads = reshaped(wide, tuple(map(poly, (2, 12, SEQ, 32))))
    assert text_of(heads) == "a0[32*(i1 // 4)*seq + 96*i0*seq + 32*i2 + i3]"


def test_a_part_after_another_needs_no_division() -> None:
    x, y = memory(2, 3, 4), memory(2, 5, 4)
    flat = reshaped(concatenated([x, y], 1), (poly(2), poly(32)))
    assert text_of(reshaped(flat, (poly(2), poly(8), poly(4)))) == (
        "Where((i1 < 3), a0[12*i0 + 4*i1 + i2], a1[20*i0 + 4*i1 + i2 - 12])"
    )
