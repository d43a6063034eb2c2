"""What attention computes: heads of queries over states of keys and values; in numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from opencl_kernels.attention.rope_kv import States, state_argument
from opencl_kernels.case import symbols
from opencl_kernels.formats import Array
from opencl_kernels.kernel import Argument, nbytes
from opencl_kernels.map.expression import Node, evaluate, operations, places
from opencl_kernels.map.functions import FLOAT
from opencl_kernels.map.indexed import Reading

MASKED = -65504.0  # the score of no key at all, as in common.clh


@dataclass(frozen=True, kw_only=True)
class Heads(States, Reading):
    """softmax(score(SCALE * q k^T)) v over the keys that each row sees, and a sink.

    `score` and `sink` are expressions over inputs a0 … and the coordinates i0 the text, i1 the
    query head, i2 the new token and, in `score`, i3 the key's position and s = SCALE * q k^T.
    """

    V: int = 0  # width of a value; 0: K
    SCALE: float = 1.0
    WINDOW: int = 0  # keys that a row sees, its own included; 0: all
    SPLITS: int = 0  # parts of a row's keys that are attended to apart (split.py); 0: one
    score: str = ""  # of a visible key; one of MASKED or lower has no weight; "": s
    sink: str = ""  # the score of one more key of each row, which has no value; "": there is none

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        for rank, text, names in ((4, self.score, ("s",)), (3, self.sink, ())):
            node = self.read(text or "0.0", *names)
            if node.kind != FLOAT or max(places(node), default=0) >= rank:
                raise ValueError(f"{text!r} is no float over i0 to i{rank - 1}")

    @property
    def value_width(self) -> int:
        """Elements of a value, and of a head of the result."""
        return self.V or self.K

    @property
    def scored(self) -> Node:
        """`score` as it was read."""
        return self.read(self.score or "s", "s")


def reference(inputs: Mapping[str, Array], case: Heads) -> dict[str, Array]:
    """Token by token: softmax of the scores of the visible keys, times their values."""
    y_MHV = np.zeros((int(case.M), case.H, case.value_width))
    for m, b, first, end in visible(case):
        values_HV, _, total_H = attend(inputs, case, m, b, np.arange(first, end))
        y_MHV[m] = values_HV / np.maximum(total_H, 1e-30)[:, None]
    return {"y": y_MHV}


def visible(case: Heads) -> Iterator[tuple[int, int, int, int]]:
    """Of every row m: its text, and the keys that it sees, first to end."""
    seq, past, _, *start = symbols(case).tolist()
    for m in range(int(case.M)):
        b, own = m // seq, past + m % seq
        first = max(start[b], own - case.WINDOW + 1) if case.WINDOW else start[b]
        yield m, b, first, own + 1


def attend(
    inputs: Mapping[str, Array], case: Heads, m: int, b: int, keys: Array, sink: bool = True
) -> tuple[Array, Array, Array]:
    """Of each head: sum of weight * value, the greatest score, the sum of weights.

    keys  perhaps none: left padding, or more splits than keys
    sink  whether it is counted, if there is one
    """
    slots = keys % case.C if case.ring else keys
    k_HTK, v_HTV = (
        np.repeat(
            inputs[name][b, :, slots].astype(np.float64).transpose(1, 0, 2), case.H // case.G, 0
        )
        for name in ("k_state", "v_state")
    )
    q_HK = inputs["q"][m].astype(np.float64) * case.SCALE
    at = {"i0": b, "i1": np.arange(case.H)[:, None], "i2": m % case.symbols.seq, "i3": keys[None]}
    known = case.known(inputs) | at | {"s": np.einsum("hk,htk->ht", q_HK, k_HTK)}
    scores_HT = np.broadcast_to(evaluate(case.scored, known), (case.H, len(keys)))
    sinks = evaluate(case.read(case.sink if case.sink and sink else repr(MASKED)), known)
    sinks_H = np.broadcast_to(sinks, (case.H, 1))[:, 0]
    top_H = np.maximum(scores_HT.max(-1, initial=MASKED), sinks_H)
    weights_HT = _weights(scores_HT, top_H[:, None])
    total_H = weights_HT.sum(-1) + _weights(sinks_H, top_H)
    return np.einsum("ht,htv->hv", weights_HT, v_HTV), top_H, total_H


def _weights(scores: Array, top: Array) -> Array:
    return np.where(scores <= MASKED, 0, np.exp(scores - top))


def arguments(case: Heads) -> tuple[Argument, ...]:
    """q, the states of keys and values, the inputs a0 …, y."""
    return (
        Argument("q", case.x, (case.M, case.H, case.K), "in"),
        state_argument("k_state", case, "in", case.K),
        state_argument("v_state", case, "in", case.value_width),
        *case.arguments(),
        Argument("y", case.y, (case.M, case.H, case.value_width), "out"),
    )


def work(case: Any) -> tuple[int, int]:
    """Of each row the keys that it sees, of the states what any row sees; without left padding."""
    q, k_state, v_state, *inputs, y = arguments(case)
    seq, past = int(case.symbols.seq), int(case.symbols.past)
    window = case.WINDOW or past + seq
    seen = int(np.minimum(np.arange(past + 1, past + seq + 1), window).sum())
    kept = min(past + seq, window + seq - 1, case.C)
    state = nbytes((k_state, v_state)) * kept // case.C
    each = 2 * (case.K + case.value_width) + operations(case.scored)
    return nbytes((q, *inputs, y)) + state, case.M // seq * case.H * seen * each
