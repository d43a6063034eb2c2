"""Products whose matrix is chosen for each row (mixture of experts): only chosen ones are read.

What the families share: case, arguments, defines and the numpy reference. `experts` reads each
matrix anew for every row that chose it (few rows), `experts_gemm` gathers the rows of each expert.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from opencl_kernels.case import Defines, Size
from opencl_kernels.formats import STRIP, Array, padded
from opencl_kernels.kernel import (
    Argument,
    Knobs,
    nbytes,
    storage_defines,
)
from opencl_kernels.layouts import F32, LAYOUTS, Stored, times_stored, weight_arguments
from opencl_kernels.map.expression import Node, evaluate, in_c, operations, places
from opencl_kernels.map.indexed import Reading
from opencl_kernels.matmul import epilogue
from opencl_kernels.matmul.glu import Glu


@dataclass(frozen=True)
class Mix:
    """How a token's experts are summed: expressions over inputs, at i0 the token and at i1."""

    gate: str  # how much the token's i1-th expert counts
    rest: str = "0.0"  # what is added to column i1 of the sum


@dataclass(frozen=True, kw_only=True)
class Chosen(Reading):
    """y[m, t] = W[e] x[m, t] + bias[e], e = indices[m, t], or a gated unit or an epilogue of it.

    Mixed, y[m] = sum_t gate[m, t] (W[e] x[m, t] + bias[e]) + rest[m]. W is E matrices [N, K] below
    each other, each padded to whole strips of 32 rows.
    """

    M: Size  # tokens
    choices: int  # experts of a token
    E: int
    N: int
    K: int
    shared: bool = True  # all experts of a token read one row of x, which is [M, K]
    E0: int = 0  # the first expert of a piece, which has E of `experts`
    experts: int = 0  # that there are; 0: E
    x: str = "f32"
    y: str = "f32"
    index: str = "i64"
    always: int = 0  # so many of the choices, the last, are the last experts: no index tells them
    w: Stored = F32
    bias: bool = False
    glu: Glu | None = None
    epilogue: str = ""  # of row m * choices + t (opencl_kernels.matmul.epilogue)
    mix: Mix | None = None
    Y0: ClassVar[int] = 0  # no product begins at a later column of y

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        epilogue.read(self)
        if self.mix is not None and (self.glu or self.epilogue):
            raise ValueError("experts are mixed as they are")
        if not 0 <= self.always <= min(self.choices - 1, self.all_experts):
            raise ValueError(f"{self.always} of {self.choices} choices are no choices")
        for node in self.mixed():
            if max(places(node), default=0) > 1:
                raise ValueError(f"{self.mix} is not over i0 and i1")

    def mixed(self) -> list[Node]:
        """Gate and rest."""
        texts = [] if self.mix is None else [self.mix.gate, self.mix.rest]
        return [self.read(text) for text in texts]

    @property
    def rows(self) -> Size:
        """Of y."""
        return self.M if self.mix else self.M * self.choices

    @property
    def columns(self) -> int:
        """Of y."""
        return self.N if self.glu is None else self.glu.F

    @property
    def all_experts(self) -> int:
        """Of this piece and all others."""
        return self.experts or self.E


def reference(inputs: Mapping[str, Array], case: Chosen) -> dict[str, Array]:
    """Zeros for no expert; a piece leaves the rows of other pieces as they are."""
    indices = _with_always(inputs["indices"], case)
    e_MT = indices - case.E0
    mine, nobody = (e_MT >= 0) & (e_MT < case.E), _of_nobody(indices, case)
    chosen = np.where(mine, e_MT, 0)
    x_MTK = inputs["x"].astype(np.float64).reshape(len(e_MT), -1, case.K)
    x_MTK, rows = np.broadcast_to(x_MTK, (*e_MT.shape, case.K)), padded(case.N, STRIP)
    y_MTN = np.empty((*e_MT.shape, case.N))
    for e in np.unique(chosen):
        here = chosen == e
        y_MTN[here] = times_stored(x_MTK[here], inputs, case.w, case.N, case.K, e * rows)
    if case.bias:
        y_MTN = y_MTN + inputs["bias"][chosen]
    if case.mix:
        return {"y": _mixed(case, inputs, np.where(mine[..., None], y_MTN, 0.0))}
    flat = y_MTN.reshape(-1, case.N)
    sums = case.glu.halves(flat) if case.glu else (flat,)
    ended = epilogue.ended(case, inputs, *(part[:, : case.columns] for part in sums))
    before = inputs.get("y", np.zeros(1)) * ~nobody[..., None]
    return {"y": np.where(mine[..., None], ended.reshape(*e_MT.shape, -1), before)}


def _mixed(case: Chosen, inputs: Mapping[str, Array], y_MTN: Array) -> Array:
    """The sum of a token's experts; the first piece begins it."""
    known, (gate, rest) = case.known(inputs), case.mixed()
    tokens, choices, columns = np.ogrid[: len(y_MTN), : case.choices, : case.N]
    gates = evaluate(gate, known | {"i0": tokens, "i1": choices})
    at = {"i0": tokens[..., 0], "i1": columns[0]}
    first = inputs["y"] if case.E0 else evaluate(rest, known | at)
    return np.asarray((gates * y_MTN).sum(1) + first)


def _with_always(indices: Array, case: Chosen) -> Array:
    """The experts of all choices."""
    last = np.arange(case.all_experts - case.always, case.all_experts, dtype=indices.dtype)
    return np.concatenate([indices, np.broadcast_to(last, (len(indices), case.always))], axis=1)


def _of_nobody(indices: Array, case: Chosen) -> Array:
    """Rows that this piece clears: of no expert at all."""
    return np.asarray(((indices < 0) | (indices >= case.all_experts)) & (case.E0 == 0))


def arguments(case: Chosen) -> tuple[Argument, ...]:
    """In the order of experts.clh; rows of experts that another piece has keep what y has."""
    chosen, past_the_end = (case.M, case.choices), case.all_experts + 1
    told = (case.M, case.choices - case.always)

    def random(rng: np.random.Generator) -> Array:
        return rng.integers(-1, past_the_end, told)

    x = (case.M, case.K) if case.shared else (*chosen, case.K)
    y = (case.M, case.N) if case.mix else (*chosen, case.columns)
    return (
        Argument("x", case.x, x, "in"),
        Argument("indices", case.index, told, "in", random=random),
        *weight_arguments(case.w, case.E * padded(case.N, STRIP), case.K),
        *([Argument("bias", "f32", (case.E, case.N), "weight")] if case.bias else []),
        *case.arguments(),
        Argument("y", case.y, y, "inout" if case.experts else "out"),
    )


def defines(case: Chosen, knobs: Knobs) -> Defines:
    """Sizes and options of one product, and the knobs that are not about the launch."""
    own: Defines = {name: value for name, value in knobs.items() if name != "WORKERS"}
    return {
        **storage_defines(case, "x", "y"),
        **LAYOUTS[case.w.layout].defines(case.w),
        "N": case.N,
        "K": case.K,
        "BIAS": int(case.bias),
        "GLU": int(case.glu is not None),
        "ACT": case.glu.act if case.glu else 0,
        "F": case.glu.F if case.glu else 0,
        "CHOICES": case.choices,
        "SHARED": int(case.shared),
        **({"ALWAYS": case.always} if case.always else {}),
        "INDEX_LONG": int(case.index == "i64"),
        "EXPERTS": case.E,
        "EXPERT0": case.E0,
        "EXPERTS_ALL": case.all_experts,
        **epilogue.defines(case),
        **_mix_defines(case),
        **own,
    }


def cpu_defines(case: Chosen, knobs: Knobs) -> Defines:
    """And epilogues of 16 columns at once."""
    return {**defines(case, knobs), **epilogue.cpu_defines(case)}


def _mix_defines(case: Chosen) -> Defines:
    if case.mix is None:
        return {}
    gate, rest = map(in_c, case.mixed())
    return {
        **case.operand_defines(),
        "MIX": 1,
        "GATE_LETS": gate.lets,
        "GATE": gate.value,
        "REST_LETS": rest.lets,
        "REST": rest.value,
    }


def work(case: Any) -> tuple[int, int]:
    """The matrices of as many experts as can be chosen, every other buffer once."""
    every, weights = (
        arguments(case),
        weight_arguments(case.w, case.E * padded(case.N, STRIP), case.K),
    )
    rows, all_of_w = case.M * case.choices, nbytes(tuple(weights))
    read = all_of_w * min(rows, case.E) // case.E
    ending = operations(epilogue.read(case)) * case.columns + 2 * case.N * case.K
    return read + nbytes(every) - all_of_w, rows * ending
