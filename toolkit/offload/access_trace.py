"""One JSON line a gather: what it selected, kept and read. Runner, twin and simulator agree.

Of a start with a warm set there is a line for each table in front.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.errors import PocketError
from toolkit.offload.machine import Ahead, Change, Outcome
from toolkit.offload.selection import Array
from toolkit.plan.schema import Point, Table

Line = dict[str, Any]
BEFORE = -1  # the step of lines that tell what a table was opened with
AGAIN = "write it anew: pocketcl run PLAN --prompt TEXT --trace-access FILE"


def line(step: int, gather: int, outcome: Outcome) -> str:
    """The line, without its end."""
    return json.dumps(entry(step, gather, outcome), separators=(",", ":"))


def entry(step: int, gather: int, outcome: Outcome) -> dict[str, Any]:
    """The values of a line.

    t      step
    g      number of the gather among those of all phases, as points count them
    sel    records selected, ascending
    hit    how many of them were resident
    admit  [record, slot] in the order of admission
    evict  records in the order of eviction
    runs   [offset, bytes] of each read, ascending
    read   bytes of all runs
    used   bytes of the records that were missing
    ahead  of these, records that a prefetch had read; where there was one
    dense  records, the first ones, that are computed in any case; where there are any
    first  of a gather that reads records in two phases, of the first one: records that it `left`,
           so that nothing more is read of them, its `runs` and the bytes that it has `read`; those
           above are of the second one
    """
    more: dict[str, Any] = {"ahead": outcome.ahead.tolist()} if len(outcome.ahead) else {}
    more |= {"dense": outcome.dense} if outcome.dense else {}
    if outcome.glimpse is not None:
        runs = outcome.glimpse.runs
        told = {"left": outcome.left.tolist(), "runs": runs.spans.tolist(), "read": runs.bytes}
        more |= {"first": told}
    return {
        "t": step,
        "g": gather,
        "sel": outcome.selected.tolist(),
        "hit": len(outcome.hits),
        "admit": outcome.admitted.tolist(),
        "evict": outcome.evicted.tolist(),
        "runs": outcome.runs.tolist(),
        "read": outcome.bytes_read,
        "used": outcome.bytes_used,
        **more,
    }


def ahead_line(step: int, table: int, ahead: Ahead) -> str:
    """Of a prefetch: records of the table, and their reads, that begin behind the last gather's."""
    values = {
        "t": step,
        "p": table,
        "want": ahead.records.tolist(),
        "runs": ahead.runs.spans.tolist(),
        "read": ahead.bytes_read,
    }
    return json.dumps(values, separators=(",", ":"))


def changed(
    step: int, budget: int | None, point: Point, changes: Sequence[Change]
) -> dict[str, Any]:
    """The values of a line that tells of another point, between two steps.

    t       step that it follows; -1: none
    budget  bytes that were asked for; None: none
    memory, flash, slots, pinned, policy    of the point
    evict, move, admit, runs    by table: records, [record, slot], [record, slot], [offset, bytes],
                                each in the order in which it is done
    """
    return {
        "t": step,
        "budget": budget,
        "memory": point.memory,
        "flash": point.flash,
        "slots": list(point.slots),
        "pinned": list(point.pinned),
        "policy": point.policy,
        "evict": [each.moves.evicted.tolist() for each in changes],
        "move": [each.moves.moved.tolist() for each in changes],
        "admit": [each.moves.admitted.tolist() for each in changes],
        "runs": [each.runs.tolist() for each in changes],
    }


def opening_line(number: int, table: Table, opening: Change) -> str:
    """Of a table at the start, where that has a warm set: t is -1, and g the table's number."""
    records, spans = opening.admitted[:, 0], opening.runs
    values = {
        "t": BEFORE,
        "g": number,
        "sel": records.tolist(),
        "hit": 0,
        "admit": opening.admitted.tolist(),
        "evict": [],
        "runs": spans.tolist(),
        "read": int(spans[:, 1].sum()),
        "used": len(records) * table.bytes,
    }
    return json.dumps(values, separators=(",", ":"))


class AccessTrace:
    """The lines in a file, and beside it, in `path`.scores, the f32 that each was chosen by."""

    def __init__(self, path: Path) -> None:
        """Raises PocketError where a file can't be written, as `write` and `close` do."""
        self._path, scores = path, _scores_beside(path)
        with self._writing(), ExitStack() as opened:
            self._lines = opened.enter_context(path.open("w", buffering=1))
            self._scores = opened.enter_context(scores.open("wb"))
            self._opened = opened.pop_all()

    def write(self, step: int, gather: int, outcome: Outcome, scores: Array | None) -> None:
        """One gather; what selects by ids, or all, has no scores."""
        with self._writing():
            self._lines.write(f"{line(step, gather, outcome)}\n")
            if scores is not None and scores.dtype == np.float32:
                self._scores.write(scores.tobytes())

    def prefetch(self, step: int, table: int, ahead: Ahead, scores: Array) -> None:
        """One prefetch, and the f32 that it goes by."""
        with self._writing():
            self._lines.write(f"{ahead_line(step, table, ahead)}\n")
            self._scores.write(scores.tobytes())

    def change(
        self, step: int, budget: int | None, point: Point, changes: Sequence[Change]
    ) -> None:
        """Another point, after this step."""
        found = json.dumps(changed(step, budget, point, changes), separators=(",", ":"))
        with self._writing():
            self._lines.write(f"{found}\n")

    def open(self, number: int, table: Table, opening: Change) -> None:
        """One table, before any gather."""
        with self._writing():
            self._lines.write(f"{opening_line(number, table, opening)}\n")

    def close(self) -> None:
        """Write what has gathered."""
        with self._writing():
            self._opened.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what, hint = f"cannot write the trace {self._path}", "see that there is room for it"
            raise PocketError(what, error, hint) from None


def access_lines(trace: Path) -> Iterator[Line]:
    """Lines of gathers and of prefetches (these have `p`), and in front those of a warm set (`t` is
    BEFORE); changes are left out.

    Raises PocketError where the file is no trace.
    """
    count = 0
    for number, text in enumerate(_text(trace).splitlines()):
        line = _line(trace, number, text)
        if line.keys() & {"g", "p"} and line["t"] >= BEFORE:
            count += "g" in line and line["t"] > BEFORE
            yield line
    if not count:
        raise PocketError(f"{trace} is no trace", "no line tells of a gather", AGAIN)


def gather_lines(trace: Path) -> Iterator[Line]:
    """Of these, the ones of gathers and of a warm set."""
    return (line for line in access_lines(trace) if "g" in line)


def scores_of(trace: Path) -> Array:
    """All scores of a trace, those of one line behind the other's; raises PocketError without
    them."""
    scores = _scores_beside(trace)
    try:
        return np.fromfile(scores, "<f4")
    except OSError as error:
        hint = "it lies beside the trace that a run wrote; " + AGAIN
        raise PocketError(f"{scores} can't be read", error, hint) from None


def _scores_beside(trace: Path) -> Path:
    return trace.with_name(f"{trace.name}.scores")


def _text(trace: Path) -> str:
    try:
        return trace.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise PocketError(f"{trace} is no trace", error, AGAIN) from None


def _line(trace: Path, number: int, text: str) -> Line:
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        line = json.loads(text)
        told = [line["t"], *((line["g"], *line["sel"]) if "g" in line else ())]
        told += [line["p"]] if "p" in line else []
        if all(isinstance(value, int) for value in told):
            return dict(line)
    because = f"line {number + 1} tells neither of a gather nor of a change"
    raise PocketError(f"{trace} is no trace", because, AGAIN)
