"""Masks are recognised by what they compute: evaluated at several (seq, past), compared with closed forms.

Closed forms so far: causal, and causal within a window of w tokens, each with and without padding on the left.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.evaluate import Subgraph
from onnx_passes.graph import Miss
from onnx_passes.roles import Roles

NO_WINDOW = 2**31 - 1  # a window that never ends, as `pocket.Attention` writes it
_SHAPES = ((1, 0, 0), (3, 0, 0), (5, 4, 0), (1, 9, 0), (7, 12, 0), (4, 6, 2), (6, 0, 3))  # seq, past, padding


def closed_form(model: ir.Model, mask: ir.Value, roles: Roles, context: int) -> int:
    """The window of a causal mask (NO_WINDOW where it has none), or a Miss if the mask is something else."""
    piece = Subgraph(model, [mask], roles)
    window = _window(_allowed(piece, 1, context - 1), context)
    for seq, past, padding in _SHAPES if roles.mask else _SHAPES[:-2]:
        allowed = _allowed(piece, seq, past, padding)
        for i in range(seq):
            expected = visible(past + i, past + seq, window, padding)
            if past + i >= padding and not np.array_equal(allowed[i], expected):
                raise Miss(f"the mask is neither causal nor a window: query {past + i} sees {allowed[i].astype(int)}")
    return window


def visible(position: int, total: int, window: int, padding: int) -> np.ndarray:
    """Which of `total` keys the query at `position` sees: causal, within the window, right of the padding."""
    j = np.arange(total)
    return (j <= position) & (j > position - window) & (j >= padding)


def _window(last_row: np.ndarray, context: int) -> int:
    seen = int(last_row[0].sum())
    return NO_WINDOW if seen == context else seen


def _allowed(piece: Subgraph, seq: int, past: int, padding: int = 0) -> np.ndarray:
    """[seq, past + seq] booleans from a boolean mask (True attends) or an additive one (0 attends)."""
    (value,) = piece.run(seq, past, padding)
    plane = np.broadcast_to(value, (*value.shape[:-2], seq, past + seq)).reshape(-1, seq, past + seq)
    if not (plane == plane[:1]).all():
        raise Miss("the mask differs between heads")
    if plane.dtype == np.bool_:
        return plane[0]
    if not ((plane[0] == 0) | (plane[0] < -1e4)).all():
        raise Miss("the mask adds values other than 0 and a large negative number (a bias such as ALiBi)")
    return plane[0] == 0
