"""Dispatches before their kernels are chosen, so that those that can be one become one.

What a token writes into states lies ready long before attention reads it: it waits for the other
small maps in front of that, such as the rotation of the queries, and they share a launch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy

from opencl_kernels import FAMILIES
from opencl_kernels.kernel import Argument
from opencl_kernels.map.indexed import MAX_INPUTS, Operand
from opencl_kernels.map.map import Map
from opencl_kernels.map.maps import MOST_PARTS, Maps, Part
from toolkit.plan.schema import HostStep, Ref, Select


@dataclass(frozen=True)
class Draft:
    """A dispatch of a family on a case; `refs` are its arguments by name."""

    name: str
    family: str
    case: Any
    refs: Mapping[str, Ref]

    @cached_property
    def arguments(self) -> tuple[Argument, ...]:
        """In order, after the symbols."""
        return FAMILIES[self.family].arguments(self.case)

    @cached_property
    def read(self) -> set[Ref]:
        """The memory that it reads."""
        return {self.refs[each.name] for each in self.arguments if each.role != "out"}

    @cached_property
    def written(self) -> set[Ref]:
        """The memory that it writes."""
        return {self.refs[each.name] for each in self.arguments if each.role in ("out", "inout")}

    def must_follow(self, other: Draft) -> bool:
        """Whether it reads or writes what the other writes, or writes what the other reads."""
        return bool((self.read | self.written) & other.written or self.written & other.read)


@dataclass(frozen=True)
class FirstDraft:
    """What a gather computes of first parts, and which records it needs the rest of."""

    parts: tuple[str, ...]
    drafts: tuple[Draft, ...]
    select: Select


@dataclass(frozen=True)
class GatherDraft:
    """A gather of a table's records, and what is computed of them."""

    name: str
    table: int
    parts: tuple[str, ...]
    select: Select
    drafts: tuple[Draft, ...]
    tile: int = 0
    choose: Draft | None = None  # fills the ticket where all of the table lies in memory
    whole: bool = False  # then its ticket is always the same
    first: FirstDraft | None = None  # of records that are read in two phases


@dataclass(frozen=True)
class PrefetchDraft:
    """Reads of a table that begin early, and what computes the numbers they go by."""

    name: str
    table: int
    select: Select
    drafts: tuple[Draft, ...]


AnyDraft = Draft | GatherDraft | PrefetchDraft | HostStep
Steps = Sequence[AnyDraft]


def with_joint_maps(steps: Steps) -> list[AnyDraft]:
    """The same with small maps in one launch that follow a write through an index, and it."""
    made, waiting = list[AnyDraft](), _Waiting()
    for step in steps:
        if not isinstance(step, Draft) or waiting.holds_up(step):
            waiting.end(made)
        if isinstance(step, Draft) and waiting.takes(step):
            waiting.add(step, len(made))
        else:
            made.append(step)
    waiting.end(made)
    return made


class _Waiting:
    """Maps that nothing after them depends on so far."""

    def __init__(self) -> None:
        self.maps, self.place = list[Draft](), 0

    def holds_up(self, step: Draft) -> bool:
        """Whether they must be computed before the step, or leave it no room."""
        if any(map(step.must_follow, self.maps)):
            return True
        room = len(self.maps) < MOST_PARTS
        return _is_small(step) and not (room and len(_inputs([*self.maps, step])) <= MAX_INPUTS)

    def takes(self, step: Draft) -> bool:
        """Whether a map may wait: the first one is a write through an index."""
        return _is_small(step) and bool(self.maps or step.case.into)

    def add(self, step: Draft, place: int) -> None:
        """Let a map wait; alone it would stand at this place."""
        self.place = self.place if self.maps else place
        self.maps.append(step)

    def end(self, made: list[AnyDraft]) -> None:
        """Compute what waits: at the end of what is made, or where it stood if it is alone."""
        if len(self.maps) == 1:
            made.insert(self.place, self.maps[0])
        elif self.maps:
            made.append(_joint(self.maps))
        self.maps = []


def _is_small(step: Draft) -> bool:
    """Whether it is a map of a size that doesn't grow with the text."""
    case = step.case
    return isinstance(case, Map) and all(sympy.sympify(size).is_Integer for size in case.axes)


def _inputs(maps: Sequence[Draft]) -> dict[tuple[Ref, Operand], str]:
    """The inputs of all maps and their names in one of all."""
    each = dict.fromkeys(pair for step in maps for pair in _own_inputs(step).values())
    return {pair: f"a{i}" for i, pair in enumerate(each)}


def _own_inputs(step: Draft) -> dict[str, tuple[Ref, Operand]]:
    return {f"a{i}": (step.refs[f"a{i}"], each) for i, each in enumerate(step.case.inputs)}


def _joint(maps: Sequence[Draft]) -> Draft:
    """Maps as one dispatch."""
    names = _inputs(maps)
    case = Maps(
        B=maps[0].case.B,
        at=maps[0].case.at,
        inputs=tuple(operand for _, operand in names),
        parts=tuple(_part(step, names) for step in maps),
    )
    refs = {name: ref for (ref, _), name in names.items()}
    outputs = {f"y{j}": step.refs["y"] for j, step in enumerate(maps)}
    return Draft(" + ".join(step.name for step in maps), "maps", case, refs | outputs)


def _part(step: Draft, names: Mapping[tuple[Ref, Operand], str]) -> Part:
    own, case = _own_inputs(step), step.case

    def renamed(text: str) -> str:
        return re.sub(r"\ba\d\b", lambda found: names[own[found[0]]], text)

    return Part(
        axes=tuple(map(int, case.axes)),
        value=renamed(case.value),
        into=renamed(case.into),
        elements=case.elements,
        y=case.y,
    )
