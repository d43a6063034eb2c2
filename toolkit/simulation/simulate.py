"""`pocketcl simulate`: replays a text, or a trace, through caches of records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.evaluation.inputs import source_of
from toolkit.evaluation.resident import chooses_by_magnitude
from toolkit.offload.points import by_ids
from toolkit.offload.record_cache import NONE
from toolkit.plan.load import load_plan
from toolkit.plan.schema import MOST_WINDOW, POLICIES
from toolkit.simulation.accesses import Accesses
from toolkit.simulation.in_part import replayed_in_part
from toolkit.simulation.known import WINDOWED, Case, Known
from toolkit.simulation.replay import BELADY, Replayed, replay
from toolkit.simulation.rows import row
from toolkit.simulation.text import Text, ids_of
from toolkit.simulation.traced import Traced

Tell = Callable[[str], None]
PLANNED, ORACLE = "plan", "oracle"  # selectors: the plan's, and one that knows what is zero
SELECTORS = (PLANNED, ORACLE)
EVERY = (*POLICIES, BELADY)


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
    """Rows of what each memory, policy and selector would find and read (rows.py).

    text      is read by the plan's model, which lies where it was compiled from, or at `model`
    trace     in its place: what a run has written down
    memory    as `run` takes it; none: the plan's
    policy    some of EVERY, or window:K, one of K steps that doesn't adapt; none: all that the plan
              has what they need for
    selector  some of SELECTORS
    tokens    of the text, at most
    """
    tell = progress or (lambda _: None)
    plan = load_plan(path)
    known = Known.of(path, plan, flash)
    policies = _policies(known, policy)  # and the steps of windows that don't adapt
    _check_given(text, trace, tokens, model)
    in_part = text is not None and chooses_by_magnitude(plan)
    _check_selector(selector, text is None, in_part)
    cases = [
        known.case(each, name, by, window)
        for each in memory or (None,)
        for by in selector
        for name, window in policies
    ]
    every = None
    if trace is not None:
        traced = Traced(trace, plan, [held.order for held in known.tables])
        found, count = _replayed(known, traced, cases, tell), traced.tokens
    else:
        assert text is not None
        source = source_of(plan, model)
        ids = ids_of(plan, source, text, tokens)
        count = len(ids)
        if in_part:
            every = replayed_in_part(known, source, ids, cases, tell)
        told = Text(plan, source, ids, tell)
        found = _replayed(known, told, cases, tell) if every is None else every.found
    least = {
        _where(case): sums for case, sums in zip(cases, found, strict=True) if case.policy == BELADY
    }
    costs = [None] * len(cases) if every is None else every.perplexities
    rows = [
        row(known, case, sums, count, least.get(_where(case)), cost)
        for case, sums, cost in zip(cases, found, costs, strict=True)
    ]
    return {
        "plan": str(path),
        "text": None if text is None else str(text),
        "trace": None if trace is None else str(trace),
        "tokens": count,
        "flash": known.flash.name,
        "unknown": None if known.unknown is None else str(known.unknown),
        "all_neurons_perplexity": None if every is None else every.whole,
        "rows": rows,
    }


def _check_given(
    text: Path | None, trace: Path | None, tokens: int | None, model: Path | None
) -> None:
    if (text is None) == (trace is None):
        hint = "give one of them: --text FILE, or --trace FILE"
        raise PocketError("a text or a trace is replayed", "none is given, or both are", hint)
    for option, value in (("--tokens", tokens), ("--model", model)):
        if trace is not None and value is not None:
            because = "a trace has all its accesses, and no model reads it"
            raise PocketError(f"{option} goes with --text", because, "leave it out")


def _check_selector(selector: Sequence[str], traced: bool, in_part: bool) -> None:
    if ORACLE not in _checked(selector, SELECTORS, "selector"):
        return
    if traced:
        because = "a trace has only what the plan selects by"
        raise PocketError("the oracle needs a text", because, "--text FILE in place of --trace")
    if in_part:
        because = "what it leaves out isn't zero, so nobody knows what it could do without"
        raise PocketError("the plan has no oracle", because, f"--selector {PLANNED}")


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
                warm=accesses.warm.get(number, NONE),
                window=case.window,
            )
    return found


def _policies(known: Known, asked: Sequence[str]) -> Sequence[tuple[str, int | None]]:
    """Each with the steps of a window that doesn't adapt, as `window:4` asks for one."""
    words = [each.partition(":") for each in asked]
    wanted = [name for name, _, _ in words]
    steps = [_steps(name, number) if colon else None for name, colon, number in words]
    names = _names(known, wanted)
    return list(zip(names, steps or [None] * len(names), strict=True))


def _steps(name: str, number: str) -> int:
    if name in WINDOWED and number.isdecimal() and 1 <= int(number) <= MOST_WINDOW:
        return int(number)
    because = f"there are windows of 1 to {MOST_WINDOW} steps"
    raise PocketError(f"no policy is called {name}:{number:.40}", because, f"say {WINDOWED[0]}:8")


def _names(known: Known, wanted: Sequence[str]) -> Sequence[str]:
    plan, aware = known.plan, known.aware
    networks = {*range(len(plan.tables))} - by_ids(plan)
    has = bool(networks) and all(plan.tables[n].importance is not None for n in networks)
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
    if not given:
        because = f"there are {', '.join(known)}"
        raise PocketError(f"no {what} is named", because, "name one of these at least")
    for each in given:
        if each not in known:
            because = f"there are {', '.join(known)}"
            raise PocketError(f"no {what} is called {each:.40}", because, "take some of these")
    return given


def _where(case: Case) -> tuple[Any, ...]:
    return case.point.slots, case.selector
