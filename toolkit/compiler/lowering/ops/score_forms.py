"""What an expression of scores does, found by evaluating it: which keys it hides, at which scale.

An attention kernel skips the keys that no query sees: those before the text, after the query, and
out of a window. It may only if the expression hides them, which is tried at several sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from opencl_kernels.formats import Array
from opencl_kernels.map.expression import Node, evaluate

Size: TypeAlias = tuple[int, int, int]  # seq, past, padding
HIDDEN = -1e4  # a score of no weight
SIZES = ((1, 0, 0), (3, 0, 0), (5, 4, 0), (1, 9, 0), (7, 12, 0))  # seq, past, padding
PADDED = ((4, 6, 2), (6, 0, 3))


@dataclass(frozen=True)
class Form:
    """What kernels need not compute: keys outside of a causal window, a score that is a scale."""

    window: int  # keys that a row sees; 0: all up to its own
    scale: float | None  # the score of a key that is seen is scale * s; None: it is not


@dataclass(frozen=True)
class Expression:
    """A score over `s` and the axes i0 text, i1 head, i2 token, i3 key, and what it reads."""

    node: Node
    heads: int
    batch: int
    padded: bool  # it depends on where texts start
    arrays: Mapping[str, Callable[[int, int], Array]]  # elements at sizes seq, past
    slots: int | None = None  # keys, if there are always so many, most of them not written yet

    def keys(self, seq: int, past: int) -> int:
        """How many keys there are."""
        return past + seq if self.slots is None else self.slots

    def at(self, seq: int, past: int, padding: int, s: Any) -> Any:
        """Scores [batch, heads, seq, keys] of products `s`."""
        sizes = (self.batch, self.heads, seq, self.keys(seq, past))
        axes = np.indices(sizes, sparse=True)
        known = {f"i{k}": axis for k, axis in enumerate(axes)} | {"s": s}
        known |= {"seq": np.asarray(seq), "past": np.asarray(past), "rows": np.asarray(1)}
        known |= {"text_length": np.asarray(0)}
        known |= {"start": np.full(self.batch, padding)}
        known |= {name: array(seq, past) for name, array in self.arrays.items()}
        with np.errstate(all="ignore"):  # what Where does not choose may be no number
            return np.broadcast_to(evaluate(self.node, known), sizes)


def form_of(score: Expression, context: int, seq: int | None) -> Form | None:
    """The causal form of a score; None where it lets a row see later keys or padding.

    seq  the number of new tokens where it is fixed
    """
    sizes = [*SIZES, *(PADDED if score.padded else ()), (1, context - 1, 0)]
    window = _window(score, context)
    begins = max(0, min(window - 1, context - 3))  # the first tokens that a window keeps out

    def fitting(sizes: Iterable[Size]) -> list[Size]:
        return [s for s in sizes if s[0] + s[1] <= context and seq in (None, s[0])]

    if not all(_inside(score, size, 0) for size in fitting(sizes)):
        return None
    windowed = fitting([*sizes, (3, begins, 0), (1, begins + 2, 0)])
    kept = window if all(_inside(score, size, window) for size in windowed) else 0
    return Form(kept if kept < context else 0, _scale(score, fitting(sizes), kept))


def _window(score: Expression, context: int) -> int:
    """How many keys the last of a full context sees."""
    return int(_visible(score, 1, context - 1, 0)[0].sum())


def _visible(score: Expression, seq: int, past: int, padding: int) -> Any:
    """[seq, keys]: those that any head of a token sees."""
    return (score.at(seq, past, padding, np.float64(0.0)) > HIDDEN).any((0, 1))


def _allowed(score: Expression, size: Size, window: int) -> Any:
    seq, past, padding = size
    own, key = np.arange(past, past + seq)[:, None], np.arange(score.keys(seq, past))
    near = key > own - window if window else True
    return (key <= own) & (key >= padding) & near


def _inside(score: Expression, size: Size, window: int) -> bool:
    """Whether no token that is no padding sees a key that a causal window hides."""
    seq, past, padding = size
    real = np.arange(past, past + seq) >= padding
    seen = _visible(score, seq, past, padding) & ~_allowed(score, size, window)
    return not seen[real].any()


def _scale(score: Expression, samples: list[Size], window: int) -> float | None:
    """The one factor of all scores that are seen, where a causal window is all that hides keys."""
    factors = set[float]()
    for seq, past, padding in samples:
        keys, allowed = score.keys(seq, past), _allowed(score, (seq, past, padding), window)
        s = np.random.default_rng(seq).uniform(1, 2, (score.batch, score.heads, seq, keys))
        found = score.at(seq, past, padding, s)
        ratio = (found / s)[:, :, allowed]
        if (found[:, :, allowed] <= HIDDEN).any():
            return None
        factors |= set(np.round(ratio.reshape(-1), 9).tolist())
    return factors.pop() if len(factors) == 1 else None
