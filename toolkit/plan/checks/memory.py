"""What symbols, buffers and states of a plan must be."""

import re
from collections.abc import Iterator, Sequence

from toolkit.errors import PocketError
from toolkit.plan.checks.phases import INT32_MAX
from toolkit.plan.checks.values import (
    RECORDS,
    duplicate_problems,
    index_problems,
    storage_problems,
)
from toolkit.plan.expr import Box, symbols_of
from toolkit.plan.reader import damaged
from toolkit.plan.schema import STATE_LAYOUTS, UPDATES, Buffer, State, SymbolDecl

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
RESERVED = ("min", "max", RECORDS)  # they mean something else in an expression
MOST_SLOTS = 2**20


def symbol_problems(symbols: Sequence[SymbolDecl]) -> Iterator[PocketError]:
    """Of all symbols: names, bounds, and slots that no two share."""
    yield from duplicate_problems("symbols", [s.name for s in symbols])
    for i, s in enumerate(symbols):
        yield from _problems_of(f"symbols[{i}]", s)
        for other in symbols[:i]:
            if s.slot < other.end and other.slot < s.end:
                yield damaged(f"symbols[{i}].slot", f"{other.name!r} has this slot already")


def _problems_of(at: str, s: SymbolDecl) -> Iterator[PocketError]:
    if not NAME.fullmatch(s.name) or s.name in RESERVED:
        yield damaged(f"{at}.name", f"{s.name!r} is no name of a symbol")
    if s.kind not in ("input", "count"):
        yield damaged(f"{at}.kind", f"unknown kind {s.kind!r}")
    if not 0 <= s.min <= s.max <= INT32_MAX:
        yield damaged(at, f"bounds {s.min} to {s.max} are impossible")
    if s.length is not None and not 1 <= s.length <= MOST_SLOTS:
        yield damaged(f"{at}.length", f"{s.length} is no length of a vector")
    if s.slot < 0 or s.end > MOST_SLOTS:
        yield damaged(f"{at}.slot", f"{s.slot} is no slot: there are {MOST_SLOTS}")


def buffer_problems(at: str, buffer: Buffer, box: Box) -> Iterator[PocketError]:
    """Of one buffer, `at` its path of keys."""
    if buffer.kind not in ("input", "output", "state"):
        yield damaged(f"{at}.kind", f"unknown kind {buffer.kind!r}")
    yield from storage_problems(at, buffer.dtype, buffer.shape, buffer.bytes, box)
    for i, dim in enumerate(buffer.shape if buffer.kind == "state" else ()):
        if symbols_of(dim):
            yield damaged(f"{at}.shape[{i}]", "a state has one size, whatever the symbols are")


def states_problems(states: Sequence[State], buffers: Sequence[Buffer]) -> Iterator[PocketError]:
    """Of all states: one for each buffer of their kind, and each a part of its own."""
    owners = dict[int, int]()
    for i, state in enumerate(states):
        yield from index_problems(f"states[{i}].buffer", state.buffer, len(buffers))
        if buffers[state.buffer].kind != "state":
            yield damaged(f"states[{i}].buffer", f"{buffers[state.buffer].name!r} is no state")
        if owners.setdefault(state.buffer, i) != i:
            yield damaged(f"states[{i}].buffer", f"states[{owners[state.buffer]}] has it already")
        yield from _state_problems(f"states[{i}]", state, buffers[state.buffer])
    yield from duplicate_problems("states", [f"{s.group}.{s.part}" for s in states])
    for i, buffer in enumerate(buffers):
        if buffer.kind == "state" and i not in owners:
            yield damaged("states", f"{buffer.name!r} is a state, and none of these says how")


def _state_problems(at: str, s: State, buffer: Buffer) -> Iterator[PocketError]:
    if s.update not in UPDATES:
        yield damaged(f"{at}.update", f"unknown update {s.update!r}; known: {', '.join(UPDATES)}")
    if s.layout not in STATE_LAYOUTS:
        yield damaged(f"{at}.layout", f"unknown layout {s.layout!r:.40}")
    yield from _token_problems(at, s, buffer)
    if s.versions < 1 or (s.versions > 1 and s.update != "replace"):
        yield damaged(f"{at}.versions", f"{s.versions} for a state of update {s.update!r}")
    if s.versions > 1 and (s.axis == 0 or buffer.shape[:1] != (s.versions,)):
        yield damaged(f"{at}.versions", "the first axis of its buffer does not count them")


def _token_problems(at: str, s: State, buffer: Buffer) -> Iterator[PocketError]:
    """Along which axis tokens lie, and how many there can be."""
    if s.axis is None and s.update == "append":
        yield damaged(f"{at}.axis", "what is appended to has an axis of tokens")
    if s.axis is None and s.capacity is not None:
        yield damaged(f"{at}.capacity", "it counts tokens along an axis, and there is none")
    if s.axis is not None:
        yield from index_problems(f"{at}.axis", s.axis, len(buffer.shape))
        if s.capacity != buffer.shape[s.axis]:
            because = f"{s.capacity} is not what its buffer has: {buffer.shape[s.axis]}"
            yield damaged(f"{at}.capacity", because)
