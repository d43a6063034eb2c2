"""`bench --budgets`: how fast a plan goes on where its memory changes, or its flash, meanwhile.

One run goes through all sections. In turn with it runs the same plan, begun with the section's
memory and flash: the planner knows nothing faster. A section's first SETTLE tokens aren't timed; in
them the run has to have found its point.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol, cast

from toolkit.bench.flash.curve import facts_of, rows_told
from toolkit.bench.flash.reads import flash_figures
from toolkit.bench.trials import Ours, Trial, figures_of, run_trials, spread
from toolkit.errors import PocketError
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan
from toolkit.tables import size

SETTLE = 32  # tokens
CHANGED, FRESH = "changed", "fresh"  # who takes turns
Row = dict[str, Any]


class Imitates(Protocol):
    """An executor whose reads imitate a flash."""

    def imitate(self, flash: str) -> None:
        """Another one from here on."""


@dataclass(frozen=True)
class Section:
    """A budget, and the flash from there on; None: the one that the run began with."""

    memory: str
    flash: str | None = None

    @classmethod
    def of(cls, text: str) -> "Section":
        """Of `65%` or `65%@ufs31`."""
        memory, _, flash = text.partition("@")
        return cls(memory, flash or None)


def changes(
    plan_path: Path,
    sections: Sequence[str],
    prompts_of: Callable[..., list[list[int]]],
    new_tokens: int,
    repeats: int,
    on: str = "runner",
    flash: str | None = None,
    tell: Callable[..., None] = lambda *_: None,
    **options: Any,
) -> dict[str, Any]:
    """Keys as in `pocketcl bench --budgets A,B --json`: `rows`, one for each section.

    sections    as of Section; the run begins with the first one's memory
    prompts_of  of the loaded plan: decoding follows the last one

    A row has `error` where the imitation was late, or the plan doesn't run in so little; else

    asked, memory, profile      the section, bytes that the run keeps to, the flash that is imitated
    change_s                    that the change took
    tokens_to_point             after which the run had the point that it went on at
    point_flash, policy         of that point: the speed of flash that it is for, against the plan's
    decode_tokens_per_s, spread                 of the run, medians
    fresh_tokens_per_s, fresh_spread            of runs that began so
    share_of_fresh, share_spread                the first over the second, turn by turn
    flash_bytes_per_token, fresh_bytes_per_token
    launched                    how each of both launches steps; None: it has one way only

    Raises PocketError where a section has a flash and the run imitates none, and for a context of
    less than SETTLE + 1.
    """
    wanted = [Section.of(text) for text in sections]
    if flash is None and any(each.flash for each in wanted):
        because = "its reads take as long as the storage does"
        raise PocketError("the run imitates no flash", because, "--flash, for the other sections")
    plan = load_plan(plan_path, note=lambda _: None)  # what doesn't fit is told before all loading
    _check_context(plan)
    prompt = prompts_of(plan)[-1]
    ids, rows = set[tuple[int, ...]](), list[Row]()
    known: Row = {"on": on, **options}
    with closing(open_executor(plan_path, memory=wanted[0].memory, flash=flash, **known)) as run:
        for text, each in zip(sections, wanted, strict=True):
            tell(f"{text} of memory")
            row: Row = {"asked": text}
            try:
                row |= _change(run, each, flash) | _settled(run, prompt)
                own: Row = {"memory": each.memory, "flash": each.flash or flash}
                with closing(open_executor(plan_path, **own, **known)) as fresh:
                    turns = (prompt, new_tokens, repeats, tell)
                    row |= _compared(run, fresh, own["flash"], ids, *turns)
            except PocketError as error:
                row["error"] = facts_of(error)
            rows.append(row)
        about: Row = {"device": run.device.label, "executor": on, "flash": flash}
    about |= {"imitated": flash is not None, "new_tokens": new_tokens, "repeats": repeats}
    return {**about, "ids_equal": len(ids) == 1 if ids else None, "rows": rows}


def _check_context(plan: Plan) -> None:
    context = int(plan.model["max_context"])
    if context <= SETTLE:
        because = f"the plan was compiled for {context} positions, a change settles in {SETTLE}"
        hint = f"compile it with --max-context {2 * SETTLE}, or more"
        raise PocketError("--budgets has too little context", because, hint)


def _change(run: Executor, section: Section, flash: str | None) -> Row:
    started = time.perf_counter()
    memory = run.budget(section.memory)
    took = time.perf_counter() - started
    profile = section.flash or flash
    if profile:
        cast(Imitates, run).imitate(profile)
    return dict(memory=memory, profile=profile, change_s=took)


def _settled(run: Executor, prompt: Sequence[int]) -> Row:
    """After how many of SETTLE tokens it has the point that it goes on at."""
    token = run.prefill(prompt[:1], 0)
    used, points = _used(run), list[tuple[Any, ...]]()
    for past in range(1, SETTLE + 1):
        token = run.step(token, past)
        used, before = _used(run), used
        points.append(next(point for point, n in used.items() if n != before.get(point)))
    at_last = len(list(takewhile(points[-1].__eq__, reversed(points))))
    _, flash, policy = points[-1]
    return {"tokens_to_point": SETTLE - at_last, "point_flash": flash, "policy": policy}


def _used(run: Executor) -> dict[tuple[Any, ...], int]:
    """How many tokens each point had: its memory, its flash and its policy."""
    told = run.stats()["tables"]["points_used"]
    return {(each["memory"], each["flash"], each["policy"]): each["tokens"] for each in told}


def _compared(
    run: Executor,
    fresh: Executor,
    flash: str | None,
    ids: set[tuple[int, ...]],
    prompt: Sequence[int],
    new_tokens: int,
    repeats: int,
    tell: Callable[..., None],
) -> Row:
    both = [Ours(run), Ours(fresh)]
    both[0].name, both[1].name = CHANGED, FRESH
    _settled(fresh, prompt)
    found = run_trials(both, [prompt], new_tokens, repeats, tell)
    changed, begun = (found[each.name][-1] for each in both)
    ids.update(trial.ids for trial in (*changed, *begun))
    read = [flash_figures(each, found[each.name][-1], flash, prefills=False) for each in both]
    rates = [figures_of(_seconds(each)) for each in (changed, begun)]
    shares = [b / a for a, b in zip(_seconds(changed), _seconds(begun), strict=True)]
    return {
        "decode_tokens_per_s": rates[0]["tokens_per_s"],
        "spread": rates[0]["spread"],
        "fresh_tokens_per_s": rates[1]["tokens_per_s"],
        "fresh_spread": rates[1]["spread"],
        "share_of_fresh": statistics.median(shares),
        "share_spread": spread(shares),
        "flash_bytes_per_token": read[0]["flash_bytes_per_token"],
        "fresh_bytes_per_token": read[1]["flash_bytes_per_token"],
        "launched": [_mode(each.executor) for each in both],
    }


def _seconds(trials: Sequence[Trial]) -> list[float]:
    return [trial.decode_s or 0.0 for trial in trials]


def _mode(executor: Executor) -> str | None:
    """How it launches steps; None: it has one way only."""
    modes: dict[str, Any] = executor.stats().get("recorded") or {}
    return next((each["chosen"] for each in modes.values()), None)


def lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """A table, one row for each section."""
    head = ("asked", "memory", "tokens/s", "", "fresh", "", "share", "read a token", "fresh")
    yield from rows_told(figures, head, _row, "in each section")


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return (row["asked"], *[""] * 8)
    return (
        row["asked"],
        size(row["memory"]),
        f"{row['decode_tokens_per_s']:,.1f}",
        f"± {row['spread'] / 2:.0%}",
        f"{row['fresh_tokens_per_s']:,.1f}",
        f"± {row['fresh_spread'] / 2:.0%}",
        f"{row['share_of_fresh']:.2f}",
        size(int(row["flash_bytes_per_token"])),
        size(int(row["fresh_bytes_per_token"])),
    )
