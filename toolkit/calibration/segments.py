"""A model layer by layer: one layer's weights in memory, the tokens of all windows between two.

A graph is cut at some of its values. The segment of a cut computes its `x` from what the segments
before gave and from the `y` of earlier cuts, which somebody else computes; the last segment gives
the graph's own result. What a later segment reads is kept for each window: of a decoder that is the
stream beside the FFN, and what all layers read alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnx_passes.ir.graph import DOMAIN
from toolkit.compiler.source import session_of
from toolkit.onnx_runtime import run_session

Array: TypeAlias = npt.NDArray[Any]
Values: TypeAlias = dict[str, Array]  # of one window, by name


@dataclass(frozen=True)
class Cut:
    """`y` is computed of `x`, and of nothing else but constants."""

    x: ir.Value
    y: ir.Value


@dataclass(frozen=True)
class Segment:
    """Names of what a piece of the graph reads and gives, and of what nobody reads after it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last_uses: tuple[str, ...]


class Segments:
    """A model between its cuts, which must follow one another."""

    def __init__(self, model: ir.Model, cuts: Sequence[Cut], result: ir.Value) -> None:
        """One segment more than cuts; `result` is what the last one gives."""
        self._model, self._cuts, self._result = model, cuts, result
        self._levels = _levels(model.graph, [cut.y for cut in cuts])
        ends, starts = list[list[ir.Value]](), list[list[ir.Value]]()
        later = set[ir.Value]()  # what segments after this one read
        for level in reversed(range(len(cuts) + 1)):
            ends.insert(0, self._ends(level, later))
            starts.insert(0, self._starts(level, ends[0]))
            later.update(starts[0])
        read = [{_name(v) for v in start} for start in starts]
        last = [r.difference(*read[level + 1 :]) for level, r in enumerate(read)]
        self.segments = [
            Segment(tuple(map(_name, start)), tuple(map(_name, end)), tuple(sorted(gone)))
            for start, end, gone in zip(starts, ends, last, strict=True)
        ]

    def read_after(self, level: int, name: str) -> bool:
        """Whether a segment after this one reads a value: x is, where FFNs lie side by side or a
        layer adds to what its norm has given."""
        return any(name in segment.inputs for segment in self.segments[level + 1 :])

    @contextmanager
    def opened(self, level: int) -> Iterator[Callable[[Values], None]]:
        """A segment in ONNX Runtime: give it a window's values, and it changes them to those that
        the next one needs. Raises Refused."""
        segment = self.segments[level]
        piece = ir.convenience.extract(
            self._model.graph, list(segment.inputs), list(segment.outputs)
        )
        piece.opset_imports.update({**self._model.opset_imports, DOMAIN: 1})
        session = session_of(ir.Model(piece, ir_version=10), f"segment {level} of the model")

        def run(values: Values) -> None:
            feeds = {name: values[name] for name in segment.inputs}
            found = dict(zip(segment.outputs, run_session(session, feeds), strict=True))
            for name in segment.last_uses:
                del values[name]
            values |= found

        yield run

    def _ends(self, level: int, later: set[ir.Value]) -> list[ir.Value]:
        """x, and what this segment computes and a later one reads; y of cuts nobody computes."""
        if level == len(self._cuts):
            return [self._result]
        x, given = self._cuts[level].x, {cut.y for cut in self._cuts}
        kept = [v for v in later - given - {x} if v.producer() and self._levels[v] == level]
        return [x, *sorted(kept, key=_name)]

    def _starts(self, level: int, ends: Iterable[ir.Value]) -> list[ir.Value]:
        """What a segment reads: inputs of the graph, and values of earlier segments."""
        given = {cut.y for cut in self._cuts}
        found, seen, waiting = list[ir.Value](), set[ir.Value](), list(ends)
        while waiting:
            value = waiting.pop()
            if value in seen or value.is_initializer():
                continue
            seen.add(value)
            node = value.producer()
            if node is None or value in given or self._levels[value] < level:
                found.append(value)
            else:
                waiting.extend(v for v in _reads(node) if v is not None)
        return sorted(found, key=_name)


def fed(names: Iterable[str], feeds: Mapping[str, Array]) -> Values:
    """A window's values before the first segment."""
    return {name: np.asarray(feeds[name]) for name in names}


def _levels(graph: ir.Graph, ys: Sequence[ir.Value]) -> dict[ir.Value, int]:
    """In which segment each value is known; the graph's nodes are sorted."""
    levels = dict[ir.Value, int]()
    after = {y: level + 1 for level, y in enumerate(ys)}
    for node in graph:
        reached = max((levels.get(v, 0) for v in _reads(node) if v is not None), default=0)
        for value in node.outputs:
            levels[value] = after.get(value, reached)
    return levels


def _reads(node: ir.Node) -> Iterator[ir.Value | None]:
    """Inputs of a node, and of those in its branches."""
    yield from node.inputs
    for attribute in node.attributes.values():
        graphs = [attribute.value] if attribute.type == ir.AttributeType.GRAPH else []
        if attribute.type == ir.AttributeType.GRAPHS:
            graphs = list(attribute.value)
        for graph in graphs:
            for inner in graph:
                yield from _reads(inner)
            yield from graph.outputs


def _name(value: ir.Value) -> str:
    assert value.name
    return value.name
