"""Products whose matrix is chosen for each row (mixture of experts): only chosen ones are read.

What the families share: case, arguments, defines and the numpy reference. `experts` reads each
matrix anew for every row that chose it (few rows), `experts_gemm` gathers the rows of each expert.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np

from opencl_kernels.case import Defines, Size
from opencl_kernels.formats import DTYPES, STRIP, Array, padded
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
from opencl_kernels.records.gathered import HEAD, ticket_of


@dataclass(frozen=True)
class Mix:
    """How a token's experts are summed: expressions over inputs, at i0 the token and at i1."""

    gate: str  # how much the token's i1-th expert counts
    rest: str = "0.0"  # what is added to column i1 of the sum


@dataclass(frozen=True)
class InSlots:
    """Matrices that lie in records, some of which are in slots; a ticket says which, and where.

    words   of a record
    places  of each array of a matrix (layouts.weight_arguments) its first word in a record
    S       slots
    T       records that a ticket has at most
    """

    words: int
    places: tuple[int, ...]
    S: int
    T: int


LINE = 16  # words: arrays in records begin at multiples, as vectors of 16 floats do


def laid_out(arrays: Sequence[Argument], first: int = 0) -> tuple[tuple[int, ...], int]:
    """The first word of each array in a record, one behind the other, and where they end."""
    places, end = [], first
    for array in arrays:
        places.append(end)
        end = padded(end + -(-nbytes((array,)) // 4), LINE)
    return tuple(places), end


def matrix_arguments(w: Stored, N: int, K: int) -> tuple[Argument, ...]:
    """The arrays of one expert's matrix [N, K], padded to whole strips."""
    return weight_arguments(w, padded(N, STRIP), K)


@dataclass(frozen=True)
class RecordOfMatrix:
    """A record of which the places of some arrays are known."""

    slots: InSlots
    arrays: tuple[Argument, ...]
    stored: Stored

    @property
    def nbytes(self) -> int:
        """Of all of it."""
        return 4 * self.slots.words

    @property
    def fields(self) -> Iterator[tuple[str, str, int, int]]:
        """Name, type, first byte and number of what arrays hold; of words of codes the bytes."""
        for array, place in zip(self.arrays, self.slots.places, strict=True):
            name, dtype, count = array.name, array.dtype, int(np.prod(array.shape))
            if name == "w":
                name = "codes" if self.stored.bits else "numbers"
                dtype, count = ("u8", 4 * count) if self.stored.bits else (dtype, count)
            yield name, dtype, 4 * place, count


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
    slots: InSlots | None = None  # where w lies, which then is no argument
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
        if self.slots is not None and (self.experts or self.E0):
            raise ValueError("a ticket says which experts are here")
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

    def of_slots(self, count: int) -> Self:
        """The same with so many slots, if it has any."""
        slots = self.slots
        return self if slots is None else replace(self, slots=replace(slots, S=count))

    def of_tickets(self, most: int) -> Self:
        """The same on so many records: all launches of a gather together."""
        slots = self.slots
        return self if slots is None else replace(self, slots=replace(slots, T=most))

    @property
    def record(self) -> RecordOfMatrix:
        """What lies in a slot, as far as this matrix is concerned."""
        assert self.slots is not None
        return RecordOfMatrix(self.slots, self.matrix, self.w)

    @property
    def matrix(self) -> tuple[Argument, ...]:
        """The arrays of one expert's matrix."""
        return matrix_arguments(self.w, self.N, self.K)


def reference(inputs: Mapping[str, Array], case: Chosen) -> dict[str, Array]:
    """Zeros for no expert; a piece leaves the rows of other pieces as they are."""
    indices, held = _with_always(inputs["indices"], case), _held(inputs, case)
    somebody = (indices >= 0) & (indices < case.all_experts)
    e_MT = np.where(somebody, held.place_of[np.where(somebody, indices, 0)], -1)
    mine, nobody = e_MT >= 0, ~somebody & held.first
    chosen = np.where(mine, e_MT, 0)
    x_MTK = inputs["x"].astype(np.float64).reshape(len(e_MT), -1, case.K)
    x_MTK, rows = np.broadcast_to(x_MTK, (*e_MT.shape, case.K)), padded(case.N, STRIP)
    y_MTN = np.empty((*e_MT.shape, case.N))
    for e in np.unique(chosen):
        here = chosen == e
        y_MTN[here] = times_stored(x_MTK[here], held.w, case.w, case.N, case.K, e * rows)
    if case.bias:
        own = np.where(mine, indices, 0) if case.slots else chosen
        y_MTN = y_MTN + inputs["bias"][own]
    if case.mix:
        return {"y": _mixed(case, inputs, held.first, np.where(mine[..., None], y_MTN, 0.0))}
    flat = y_MTN.reshape(-1, case.N)
    sums = case.glu.halves(flat) if case.glu else (flat,)
    ended = epilogue.ended(case, inputs, *(part[:, : case.columns] for part in sums))
    before = inputs.get("y", np.zeros(1)) * ~nobody[..., None]
    return {"y": np.where(mine[..., None], ended.reshape(*e_MT.shape, -1), before)}


@dataclass(frozen=True)
class _Held:
    """The experts of a piece: their matrices below each other, and which of these is whose."""

    w: Mapping[str, Array]
    place_of: Array  # of each expert that there is; below 0: another piece has it
    first: bool  # it begins sums, and clears what nobody has


def _held(inputs: Mapping[str, Array], case: Chosen) -> _Held:
    places = np.full(case.all_experts, -1)
    if case.slots is None:
        places[case.E0 : case.E0 + case.E] = np.arange(case.E)
        return _Held(inputs, places, case.E0 == 0)
    count, begins, whole = inputs["ticket"][:3].tolist()
    pairs = inputs["ticket"][HEAD : HEAD + 2 * count].reshape(-1, 2)
    slots, indices = [np.arange(count)] * 2 if whole else pairs.T
    places[indices] = np.arange(count)
    return _Held(_matrices(inputs["slots"][slots], case), places, bool(begins))


def _matrices(records: Array, case: Chosen) -> dict[str, Array]:
    """The arrays of those in records u32 [R, words], below each other."""
    assert case.slots is not None
    found = {}
    for array, place in zip(case.matrix, case.slots.places, strict=True):
        dtype, raw = DTYPES[array.dtype], np.ascontiguousarray(records[:, place:]).view(np.uint8)
        content = raw[:, : nbytes((array,))].copy().view(dtype)
        found[array.name] = content.reshape(-1, *array.shape[1:])
    return found


def _mixed(case: Chosen, inputs: Mapping[str, Array], begins: bool, y_MTN: Array) -> Array:
    """The sum of a token's experts; the first piece begins it."""
    known, (gate, rest) = case.known(inputs), case.mixed()
    tokens, choices, columns = np.ogrid[: len(y_MTN), : case.choices, : case.N]
    gates = evaluate(gate, known | {"i0": tokens, "i1": choices})
    at = {"i0": tokens[..., 0], "i1": columns[0]}
    first = evaluate(rest, known | at) if begins else inputs["y"]
    return np.asarray((gates * y_MTN).sum(1) + first)


def _with_always(indices: Array, case: Chosen) -> Array:
    """The experts of all choices."""
    last = np.arange(case.all_experts - case.always, case.all_experts, dtype=indices.dtype)
    return np.concatenate([indices, np.broadcast_to(last, (len(indices), case.always))], axis=1)


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
        *_stored(case),
        *([Argument("bias", "f32", (case.E, case.N), "weight")] if case.bias else []),
        *case.arguments(),
        Argument("y", case.y, y, "inout" if case.experts or case.slots else "out"),
    )


def _stored(case: Chosen) -> tuple[Argument, ...]:
    """The matrices, or the ticket and the slots of those that are there."""
    slots = case.slots
    if slots is None:
        return weight_arguments(case.w, case.E * padded(case.N, STRIP), case.K)

    def ticket(rng: np.random.Generator) -> Array:
        places, indices = (rng.permutation(size)[: slots.T] for size in (slots.S, case.E))
        return ticket_of(places, indices, slots.T, begins=bool(slots.T % 2))

    return (
        Argument("ticket", "i32", (HEAD + 2 * slots.T,), "in", random=ticket),
        Argument("slots", "u32", (slots.S, slots.words), "weight", random=_records(case, slots)),
    )


def _records(case: Chosen, slots: InSlots) -> Callable[[np.random.Generator], Array]:
    """Made up for tests."""

    def make(rng: np.random.Generator) -> Array:
        records = np.zeros((slots.S, 4 * slots.words), np.uint8)
        for array, place in zip(case.matrix, slots.places, strict=True):
            drawn = array.random or partial(_normal, array.shape)
            rows = np.stack([drawn(rng).reshape(-1) for _ in range(slots.S)])
            raw = rows.astype(DTYPES[array.dtype]).view(np.uint8)
            records[:, 4 * place : 4 * place + raw.shape[1]] = raw
        return records.view(np.uint32)

    return make


def _normal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    return rng.standard_normal(shape)


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
        **_slot_defines(case),
        **epilogue.defines(case),
        **_mix_defines(case),
        **own,
    }


def _slot_defines(case: Chosen) -> Defines:
    if case.slots is None:
        return {}
    names = (f"{array.name.upper()}_AT" for array in case.matrix)
    places = dict(zip(names, case.slots.places, strict=True))
    return {"SLOTS": 1, "RECORD_WORDS": case.slots.words, **places}


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
    stored = {each.name for each in _stored(case)}
    others = tuple(each for each in arguments(case) if each.name not in stored)
    rows, here = case.M * case.choices, case.E if case.slots is None else case.slots.T
    ending = operations(epilogue.read(case)) * case.columns + 2 * case.N * case.K
    return nbytes(case.matrix) * min(rows, here) + nbytes(others), rows * ending
