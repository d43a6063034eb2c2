"""Accesses that a run has written down (`--trace-access`): toolkit/offload/access_trace.py."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opencl_kernels.formats import Array
from toolkit.errors import PocketError
from toolkit.offload.policies import Ints
from toolkit.offload.selection import BY_SCORES, at_point, select
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Gather, Phase, Plan
from toolkit.simulation.accesses import Access, places_of

Line = dict[str, Any]
AGAIN = "write it anew: pocketcl run PLAN --prompt TEXT --trace-access FILE"


class Traced:
    """Accesses of a trace file.

    Raises PocketError where the file is no trace, or one of another plan.
    """

    knows_needed = False

    def __init__(self, path: Path, plan: Plan, orders: Sequence[Ints | None]) -> None:
        """orders  of each table the index of every record; None: its own number"""
        self._path, self._plan, self._orders = path, plan, orders
        self._scores, self._at = _floats(path), 0
        steps, decode = list(_steps(path)), token_phase(plan)
        self._accesses: list[list[Access]] = [[] for _ in plan.tables]
        self.tokens = 0
        for lines, phase in zip(steps, self._phases(steps), strict=True):
            self.tokens += phase is decode
            self._add(lines, phase, phase is decode)
        if self._at != len(self._scores):
            raise self._foreign(f"{len(self._scores) - self._at} of its scores are left over")

    def by_table(self) -> Iterator[tuple[int, Sequence[Access]]]:
        """As Accesses has it."""
        for table, accesses in enumerate(self._accesses):
            if accesses:
                yield table, accesses

    def _phases(self, steps: Sequence[list[Line]]) -> list[Phase]:
        """Which phase each step ran, by what it selected.

        One that selected everything may have been a prefill or not: as many were not as there are
        scores for, and those are the last.
        """
        fitting = [[phase for phase in self._plan.phases if self._fits(phase, s)] for s in steps]
        for number, found in enumerate(fitting):
            if not found:
                raise self._foreign(f"no phase of the plan gathers as its step {number} does")
        left = len(self._scores)
        left -= sum(min(map(self._numbers, found)) for found in fitting)
        chosen = list[Phase]()
        for found in reversed(fitting):
            most = max(found, key=self._numbers)
            least = min(found, key=self._numbers)
            more = self._numbers(most) - self._numbers(least)
            chosen.append(most if more <= left else least)
            left -= more if more <= left else 0
        return chosen[::-1]

    def _fits(self, phase: Phase, lines: list[Line]) -> bool:
        gathers = phase.gathers()
        return len(gathers) == len(lines) and all(map(self._may_be, gathers, lines))

    def _may_be(self, gather: Gather, line: Line) -> bool:
        count, selected = self._plan.tables[gather.table].count, line["sel"]
        inside = not selected or 0 <= selected[0] <= selected[-1] < count
        return inside and (gather.select.by != "all" or len(selected) == count)

    def _numbers(self, phase: Phase) -> int:
        """How many scores a step of it writes."""
        scored = (g for g in phase.gathers() if g.select.by in BY_SCORES)
        return sum(self._plan.tables[gather.table].count for gather in scored)

    def _add(self, lines: list[Line], phase: Phase, is_token: bool) -> None:
        places = places_of(self._plan, phase)
        for place, gather, line in zip(places, phase.gathers(), lines, strict=True):
            scores = self._taken(gather, line)
            self._check(gather, place, line, scores)
            access = Access(line["t"], line["g"], place, gather, scores, None, is_token)
            self._accesses[gather.table].append(access)

    def _taken(self, gather: Gather, line: Line) -> Array | None:
        """The next scores of the file; of what selects by ids, these."""
        count, order = self._plan.tables[gather.table].count, self._orders[gather.table]
        if gather.select.by == "ids":
            records = np.array(line["sel"], np.int64)
            return (records if order is None else order[records]).astype(np.int32)
        if gather.select.by == "all":
            return None
        found = self._scores[self._at : self._at + count]
        self._at += count
        if len(found) < count:
            raise self._foreign("it has fewer scores than its gathers select by")
        return found

    def _check(self, gather: Gather, place: int, line: Line, scores: Array | None) -> None:
        """That the plan's rule selects what the run selected, where no cache has a say in it."""
        rule = at_point(gather.select, self._plan.points[-1].select[place])
        if rule.by == "top" and rule.gamma < 1:
            return
        count, order = self._plan.tables[gather.table].count, self._orders[gather.table]
        chosen = select(rule, scores, count, np.ones(count, bool))
        records = chosen if order is None else np.sort(np.argsort(order)[chosen])
        if records.tolist() != line["sel"]:
            raise self._foreign(f"at its step {line['t']} the plan selects other records")

    def _foreign(self, because: str) -> PocketError:
        return PocketError(f"{self._path} is no trace of this plan", because, AGAIN)


def _steps(path: Path) -> Iterator[list[Line]]:
    """The gathers of each step."""
    step: list[Line] = []
    for number, text in enumerate(_text(path).splitlines()):
        line = _line(path, number, text)
        if step and line["t"] != step[0]["t"]:
            yield step
            step = []
        step.append(line)
    if not step:
        raise PocketError(f"{path} is no trace", "it has no line", AGAIN)
    yield step


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PocketError(f"{path} is no trace", error, AGAIN) from None


def _line(path: Path, number: int, text: str) -> Line:
    try:
        line = json.loads(text)
        whole = [line["t"], line["g"], *line["sel"]]
        if all(isinstance(value, int) for value in whole):
            return {"t": line["t"], "g": line["g"], "sel": line["sel"]}
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    because = f"line {number + 1} does not tell a gather"
    raise PocketError(f"{path} is no trace", because, AGAIN)


def _floats(path: Path) -> Array:
    scores = path.with_name(f"{path.name}.scores")
    try:
        return np.fromfile(scores, "<f4")
    except OSError as error:
        hint = "it lies beside the trace that a run wrote; " + AGAIN
        raise PocketError(f"{scores} can't be read", error, hint) from None
