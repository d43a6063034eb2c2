"""Tables of which the length of a text chooses one: up to some length the first, beyond the second.

LongRoPE has such a pair of rotary tables (Phi-3.5, Phi-4-mini). A text is prefilled in chunks, so
that the length is not what is fed so far: it is that of all that will be fed, `pocket.TextLength`.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.edit import Builder
from onnx_passes.ir.emit import places
from onnx_passes.ir.graph import DOMAIN, TEXT_LENGTH
from onnx_passes.ir.rules import Miss

Lengths = tuple[int, int, int]  # seq, past, padding
Rows = Callable[[int, int, int], np.ndarray]  # [seq, width] at such lengths


class Regimes(NamedTuple):
    """Rows of every position of the context, [context, width]."""

    long: np.ndarray
    short: np.ndarray  # of texts of up to `switch` tokens; zeros beyond
    switch: int  # 0: all texts have the same


def regimes(rows: Rows, context: int, lengths: Sequence[Lengths]) -> Regimes:
    """The tables that give `rows` at any length; some `lengths` are tried, and both sides.

    Raises:
        Miss: there is more to it than the position, and on which side of one length the text is.
    """
    long = rows(context, 0, 0)
    switch = _switch(rows, long)
    found = Regimes(long, first_rows(rows(switch, 0, 0), context) if switch else long, switch)
    for at in (*lengths, (1, context - 1, 0), *_both_sides(switch, lengths)):
        if at[0] + at[1] <= context:
            _check(found, rows(*at), at)
    return found


def _both_sides(switch: int, lengths: Sequence[Lengths]) -> Iterator[Lengths]:
    """Texts that are as long as the switch or one token longer, with padding if `lengths` have."""
    if switch:
        for padding in {min(1, padding) for *_, padding in lengths}:
            yield from ((2, switch - 2, padding), (2, switch - 1, padding), (1, switch, padding))


def _switch(rows: Rows, long: np.ndarray) -> int:
    """The longest text whose last row is not that of `long`, or 0; position 0 has no angle."""

    def is_long(total: int) -> bool:
        return _equal(rows(1, total - 1, 0), long[total - 1 : total])

    short = bisect_left(range(2, len(long) + 1), True, key=is_long)  # how many, from 2 tokens on
    return short + 1 if short else 0


def _check(found: Regimes, rows: np.ndarray, at: Lengths) -> None:
    seq, past, padding = at
    real = max(0, padding - past)  # what padding is given, nothing reads
    table = found.short if past + seq <= found.switch else found.long
    if not _equal(rows[real:], table[past + real - padding : past + seq - padding]):
        raise Miss(
            "it does not follow from the position, nor depend on the length of the sequence by "
            "one switch between two tables"
        )


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=0, atol=1e-9)


def first_rows(table: np.ndarray, count: int) -> np.ndarray:
    """The first rows, and zeros for those that no text reads."""
    return np.pad(table[:count], [(0, max(0, count - len(table))), (0, 0)])


def chosen_by_length(
    model: ir.Model, b: Builder, switch: int, short: ir.Value, long: ir.Value
) -> ir.Value:
    """`short` for texts of up to `switch` tokens, `long` for longer ones."""
    beyond = b.op("Greater", text_length(model, b), b.constant(np.array([switch])))
    chosen = b.op("Where", beyond, long, short)
    chosen.type, chosen.shape = long.type, long.shape
    return chosen


def text_length(model: ir.Model, b: Builder) -> ir.Value:
    """[1]: how many tokens the text has when all of it is fed, as far as that is known."""
    inputs = {value.name: value for value in model.graph.inputs}
    if TEXT_LENGTH not in inputs:
        inputs[TEXT_LENGTH] = ir.val(TEXT_LENGTH, dtype=ir.DataType.INT64, shape=[1])
        model.graph.inputs.append(inputs[TEXT_LENGTH])
    x, past, _ = places(model, b, roles_of(model).tokens, True)
    return b.op("TextLength", x, past, inputs[TEXT_LENGTH], domain=DOMAIN)
