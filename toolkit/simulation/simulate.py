"""`pocketcl simulate`: replays a text, or a trace, through caches of records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.compiler.budget.costs import costs_of, flash_for
from toolkit.compiler.calibrated import uses_of
from toolkit.compiler.options import options_of
from toolkit.errors import PocketError
from toolkit.evaluation.inputs import source_of
from toolkit.executors.opencl.tables import importance_of, order_of
from toolkit.offload.flash_model import Flash
from toolkit.offload.planner import Costs
from toolkit.offload.points import choose_point, memory_of, slot_bytes, under_policy
from toolkit.offload.policies import Floats32
from toolkit.plan.load import load_plan
from toolkit.plan.schema import POLICIES, Plan, Point
from toolkit.simulation.accesses import Accesses
from toolkit.simulation.replay import BELADY, Held, Replayed, replay
from toolkit.simulation.text import Text, ids_of
from toolkit.simulation.trace import Traced

Tell = Callable[[str], None]
PLANNED, ORACLE = "plan", "oracle"  # selectors: the plan's, and one that knows what is zero
SELECTORS = (PLANNED, ORACLE)
EVERY = (*POLICIES, BELADY)


@dataclass(frozen=True)
class Case:
    """A row of the result."""

    point: Point
    policy: str
    selector: str


@dataclass(frozen=True)
class Known:
    """Of a plan: its tables' lists, and frequencies by record; none where no calibration is left.

    seconds  of a token on its device; `unknown`: why these aren't known
    """

    plan: Plan
    tables: tuple[Held, ...]
    often: tuple[Floats32, ...]
    flash: Flash
    costs: Costs
    unknown: PocketError | None

    @classmethod
    def of(cls, path: Path, plan: Plan, flash: str | None) -> Known:
        """Of the plan in a folder; raises PocketError where it has no tables, or no such flash."""
        if not plan.tables:
            because = "all of its weights lie in memory"
            hint = "compile the model with --memory, say 60%"
            raise PocketError(f"{path} reads nothing from flash", because, hint)
        costs, unknown = Costs(), None
        try:
            costs = costs_of(plan)
        except PocketError as error:
            unknown = error
        often = _often(plan)
        lists = [_lists(path, plan, number) for number in range(len(plan.tables))]
        return cls(plan, tuple(lists), often, flash_for(plan, flash), costs, unknown)

    def case(self, memory: str | None, policy: str, selector: str) -> Case:
        """The point that a run with this memory would keep to, under another policy."""
        point = choose_point(self.plan, memory_of(self.plan, memory))
        if policy != BELADY:
            point = under_policy(self.plan, point, policy, self.often)
        return Case(point, policy, selector)


def simulate(
    path: Path,
    text: Path | None = None,
    trace: Path | None = None,
    memory: Sequence[str] = (),
    policy: Sequence[str] = (),
    selector: Sequence[str] = (PLANNED,),
    flash: str | None = None,
    tokens: int | None = None,
    model: Path | None = None,
    progress: Tell | None = None,
) -> dict[str, Any]:
    """Rows of what each memory, policy and selector would find and read; see `row`.

    text      is read by the plan's model, which lies where it was compiled from, or at `model`
    trace     in its place: what a run has written down
    memory    as `run` takes it; none: the plan's
    policy    some of EVERY; none: all that the plan has what they need for
    selector  some of SELECTORS
    tokens    of the text, at most
    """
    tell = progress or (lambda _: None)
    plan = load_plan(path)
    known = Known.of(path, plan, flash)
    policies = _policies(plan, policy)
    accesses = _accesses(known, text, trace, tokens, model, tell)
    if ORACLE in _checked(selector, SELECTORS, "selector") and not accesses.knows_needed:
        because = "a trace has only what the plan selects by"
        raise PocketError("the oracle needs a text", because, "--text FILE in place of --trace")
    cases = [
        known.case(each, name, by)
        for each in memory or (None,)
        for by in selector
        for name in policies
    ]
    found = _replayed(known, accesses, cases, tell)
    least = {
        _where(case): sums for case, sums in zip(cases, found, strict=True) if case.policy == BELADY
    }
    rows = [
        row(known, case, sums, accesses.tokens, least.get(_where(case)))
        for case, sums in zip(cases, found, strict=True)
    ]
    return {
        "plan": str(path),
        "text": None if text is None else str(text),
        "trace": None if trace is None else str(trace),
        "tokens": accesses.tokens,
        "flash": known.flash.name,
        "unknown": None if known.unknown is None else str(known.unknown),
        "rows": rows,
    }


def row(
    known: Known, case: Case, sums: Replayed, tokens: int, belady: Replayed | None
) -> dict[str, Any]:
    """Figures of a case; rates and what ends in `_per_token` are of steps of one token.

    memory, record_bytes  of all, and of the records in it
    selected … used_bytes  of all steps; `opening_bytes`: read before the first
    read_s_per_token      of the flash alone
    tokens_per_s          predicted; None where the device's speed is not known
    misses_over_belady    None where that policy isn't replayed
    """
    every, once = sums.tokens + sums.others, max(1, tokens)
    misses, of_token = sums.tokens.selected - sums.tokens.hits, sums.tokens
    seconds = known.costs.rest + of_token.seconds / once
    counts = {key: getattr(every, key) for key in COUNTS}
    least = None if belady is None else belady.tokens.selected - belady.tokens.hits
    return {
        "memory": case.point.memory,
        "record_bytes": slot_bytes(known.plan, case.point.slots),
        "policy": case.policy,
        "selector": case.selector,
        **counts,
        "opening_bytes": sums.opening.read_bytes,
        "hit_rate": of_token.hits / of_token.selected if of_token.selected else 1.0,
        "selected_per_token": of_token.selected / once,
        "misses_per_token": misses / once,
        "misses_over_belady": None if not least else misses / least,
        "reads_per_token": of_token.reads / once,
        "flash_bytes_per_token": of_token.read_bytes / once,
        "flash_used_bytes_per_token": of_token.used_bytes / once,
        "read_s_per_token": of_token.read_s / once,
        "tokens_per_s": None if known.unknown is not None or not tokens else 1 / seconds,
    }


COUNTS = ("selected", "hits", "reads", "read_bytes", "used_bytes")


def _accesses(
    known: Known,
    text: Path | None,
    trace: Path | None,
    tokens: int | None,
    model: Path | None,
    tell: Tell,
) -> Accesses:
    if (text is None) == (trace is None):
        hint = "give one of them: --text FILE, or --trace FILE"
        raise PocketError("a text or a trace is replayed", "none is given, or both are", hint)
    if trace is not None:
        return Traced(trace, known.plan, [held.order for held in known.tables])
    assert text is not None
    source = source_of(known.plan, model)
    return Text(known.plan, source, ids_of(known.plan, source, text, tokens), tell)


def _replayed(
    known: Known, accesses: Accesses, cases: Sequence[Case], tell: Tell
) -> list[Replayed]:
    """Of each case, all tables together."""
    found = [Replayed() for _ in cases]
    for number, of_table in accesses.by_table():
        tell(f"table {number + 1} of {len(known.tables)}")
        for i, case in enumerate(cases):
            found[i] += replay(
                known.tables[number],
                of_table,
                case.point,
                case.policy,
                known.flash,
                known.costs,
                needed=case.selector == ORACLE,
            )
    return found


def _policies(plan: Plan, wanted: Sequence[str]) -> Sequence[str]:
    has = all(table.importance is not None for table in plan.tables)
    gathers = [gather.select for phase in plan.phases for gather in phase.gathers()]
    aware = any(rule.by == "top" and rule.gamma < 1 for rule in gathers)
    if not wanted:
        without = {"importance": not has, BELADY: aware}
        return [name for name in EVERY if not without.get(name)]
    if BELADY in wanted and aware:
        because = "what is needed hangs on what lies in memory (gamma is below 1)"
        raise PocketError("nobody knows what comes", because, "leave belady out of --policy")
    if "importance" in _checked(wanted, EVERY, "policy") and not has:
        because = "nothing tells how much a record adds"
        hint = "compile it with --policy importance --calibration DIR"
        raise PocketError("the plan has no importance of its records", because, hint)
    return wanted


def _checked(given: Sequence[str], known: Sequence[str], what: str) -> Sequence[str]:
    for each in given:
        if each not in known:
            because = f"there are {', '.join(known)}"
            raise PocketError(f"no {what} is called {each:.40}", because, "take some of these")
    return given


def _often(plan: Plan) -> tuple[Floats32, ...]:
    """Frequencies by record, descending; none where they can't be had."""
    try:
        options = options_of(plan)
        uses = uses_of(options.calibration, options.recall)
    except PocketError:
        return ()
    found = [np.sort(often)[::-1] for often, _ in uses]
    counts = [len(each) for each in found]
    return tuple(found) if counts == [table.count for table in plan.tables] else ()


def _lists(path: Path, plan: Plan, number: int) -> Held:
    table = plan.tables[number]
    return Held(number, table, order_of(path, plan, table), importance_of(path, plan, table))


def _where(case: Case) -> tuple[Any, ...]:
    return case.point.slots, case.selector


def by_policy(figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows by their policies, where there is one memory and one selector."""
    return {each["policy"]: each for each in figures["rows"]}
