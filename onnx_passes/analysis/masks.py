"""Masks are recognised by what they compute: evaluated at several (seq, past), compared with forms.

Closed forms so far: causal, and causal within a window of w tokens, each with and without padding
on the left.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.subgraph import Subgraph
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.rules import Miss

NO_WINDOW = 2**31 - 1  # a window that never ends, as `pocket.Attention` writes it
_SHAPES = ((1, 0, 0), (3, 0, 0), (5, 4, 0), (1, 9, 0), (7, 12, 0))  # seq, past, padding
_PADDED = ((4, 6, 2), (6, 0, 3))


def closed_form(model: ir.Model, mask: ir.Value) -> int:
    """The window of a causal mask (NO_WINDOW if it has none), or a Miss if it is something else."""
    known: dict[ir.Value, int] = model.graph.meta.setdefault("pocket_windows", {})
    if mask not in known:  # all layers share a mask
        known[mask] = _window(model, mask, Facts.of(model).context)
    return known[mask]


def _window(model: ir.Model, mask: ir.Value, context: int) -> int:
    piece = Subgraph(model, [mask])
    seen = int(_allowed(piece, 1, context - 1)[0].sum())
    if not seen:  # what softmax makes of nothing differs between runtimes
        raise Miss("the mask hides every key")
    window = NO_WINDOW if seen == context else seen
    begins = max(0, min(window - 1, context - 3))  # the first tokens that a window keeps out
    shapes = (*_SHAPES, *(_PADDED if piece.padded else ()), (3, begins, 0), (1, context - 1, 0))
    for seq, past, padding in shapes:
        if past + seq > context:
            continue
        allowed = _allowed(piece, seq, past, padding)
        for i in range(seq):
            expected = visible(past + i, past + seq, window, padding)
            if past + i >= padding and not np.array_equal(allowed[i], expected):
                seen_by = allowed[i].astype(int)[:16]
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
    (value,) = piece.run(seq, past, padding)
    try:
        plane = np.broadcast_to(value, (*value.shape[:-2], seq, past + seq))
    except ValueError:
        raise Miss(f"the mask is {value.shape} for seq={seq}, past={past}") from None
    plane = plane.reshape(-1, seq, past + seq)
    if not (plane == plane[:1]).all():
        raise Miss("the mask differs between heads")
    if plane.dtype == np.bool_:
        return np.asarray(plane[0])
    if not ((plane[0] == 0) | (plane[0] < -1e4)).all():
        raise Miss(
            "the mask adds values other than 0 and a large negative number (a bias such as ALiBi)"
        )
    return np.asarray(plane[0] == 0)
