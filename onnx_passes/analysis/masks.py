"""Masks are recognised by what they compute: evaluated at several (seq, past), compared with forms.

Closed forms so far: causal, and causal within a window of w tokens, each with and without padding
on the left.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.rules import Miss

NO_WINDOW = 2**31 - 1  # a window that never ends, as `pocket.Attention` writes it
_SHAPES = ((1, 0, 0), (3, 0, 0), (5, 4, 0), (1, 9, 0), (7, 12, 0))  # seq, past, padding
_PADDED = ((4, 6, 2), (6, 0, 3))


class Causal(NamedTuple):
    """A causal mask: its window, what it is where a key is seen and where not, and for padding."""

    window: int
    seen: float
    hidden: float
    padded: bool  # padding is hidden


def closed_form(model: ir.Model, mask: ir.Value) -> int:
    """The window of a causal mask (NO_WINDOW if it has none), or a Miss if it is something else."""
    known: dict[ir.Value, int] = model.graph.meta.setdefault("pocket_windows", {})
    if mask not in known:  # all layers share a mask
        piece = Subgraph(model, [mask])
        known[mask] = _window(partial(_allowed, piece), piece.padded, Facts.of(model).context)
    return known[mask]


def is_slot_mask(model: ir.Model, value: ir.Value) -> bool:
    """Whether floats [.., seq, slots] are what is added to scores: 0, or very low."""
    (found,) = Subgraph(model, [value]).run(3, 2)
    return bool(((found == 0) | (found < -1e4)).all())


def causal_form(model: ir.Model, value: ir.Value) -> Causal:
    """What a value [..., seq, past + seq] of two numbers, or booleans, is; or a Miss."""
    piece = Subgraph(model, [value])
    sample = _plane(piece, 5, 4)
    seen = sample[0, 4]  # a query always sees its own key
    others = sample[sample != seen]
    if not len(others):
        raise Miss("it is the same for all queries and keys")
    hidden = others[0]

    def allowed(seq: int, past: int, padding: int = 0) -> np.ndarray:
        plane = _plane(piece, seq, past, padding)
        if not ((plane == seen) | (plane == hidden)).all():
            raise Miss("it is no mask: there are more than two values in it")
        return np.asarray(plane == seen)

    window = _window(allowed, piece.padded, Facts.of(model).context)
    return Causal(window, seen.item(), hidden.item(), piece.padded)


def _window(allowed: Callable[..., np.ndarray], padded: bool, context: int) -> int:
    seen = int(allowed(1, context - 1)[0].sum())
    if not seen:  # what softmax makes of nothing differs between runtimes
        raise Miss("the mask hides every key")
    window = NO_WINDOW if seen == context else seen
    begins = max(0, min(window - 1, context - 3))  # the first tokens that a window keeps out
    shapes = (*_SHAPES, *(_PADDED if padded else ()), (3, begins, 0), (1, context - 1, 0))
    for seq, past, padding in shapes:
        if past + seq > context:
            continue
        found = allowed(seq, past, padding)
        for i in range(seq):
            expected = visible(past + i, past + seq, window, padding)
            if past + i >= padding and not np.array_equal(found[i], expected):
                seen_by = found[i].astype(int)[:16]
                raise Miss(
                    f"the mask is neither causal nor a window: query {past + i} sees {seen_by}"
                )
    return window


def visible(position: int, total: int, window: int, padding: int) -> np.ndarray:
    """Which of `total` keys the query at `position` sees: causal, in the window, not padding."""
    j = np.arange(total)
    return np.asarray((j <= position) & (j > position - window) & (j >= padding))


def _allowed(piece: Subgraph, seq: int, past: int, padding: int = 0) -> np.ndarray:
    """[seq, past + seq] booleans from a boolean mask (True: seen) or an additive one (0: seen)."""
    plane = _plane(piece, seq, past, padding)
    if plane.dtype == np.bool_:
        return plane
    if not ((plane == 0) | (plane < -1e4)).all():
        raise Miss(
            "the mask adds values other than 0 and a large negative number (a bias such as ALiBi)"
        )
    return np.asarray(plane == 0)


def _plane(piece: Subgraph, seq: int, past: int, padding: int = 0) -> np.ndarray:
    """[seq, past + seq] of a value that is the same for all heads."""
    (value,) = piece.run(seq, past, padding)
    try:
        planes = np.broadcast_to(value, (*value.shape[:-2], seq, past + seq))
    except ValueError:
        raise Miss(f"the mask is {value.shape} for seq={seq}, past={past}") from None
    planes = planes.reshape(-1, seq, past + seq)
    if not (planes == planes[:1]).all():
        raise Miss("the mask differs between heads")
    return np.asarray(planes[0])
