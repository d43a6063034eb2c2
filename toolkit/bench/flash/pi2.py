"""`bench --ladder pi2`: what each idea of PowerInfer-2 is worth (its figure 14), by runs in turn.

    parts     reads what is predicted and keeps none of it; each part of a record is a read
    bundle    the parts of a record are one read
    cache     as much of that as fits stays in memory, by the plan's policy
    pipeline  clusters are computed while the next ones are read
    threads   the second engine: threads of the host compute them, the device what was in memory;
              of plans that say what a record adds

The seconds of `parts` are a sum: of reading, by the profile of the flash, and of computing with all
in memory, measured. No plan keeps its parts so. All others are runs whose reads imitate the flash,
and up to `cache` nothing is computed while something is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

from toolkit.bench.flash.ladder import flash_of, same_ids
from toolkit.bench.flash.misses import KEYS as MISSES
from toolkit.bench.flash.misses import Traced, traced_run
from toolkit.bench.flash.reads import flash_figures
from toolkit.bench.flash.rungs import Replays, Row, parts_row, run_row
from toolkit.bench.trials import Ours, Trial, percentiles, run_trials
from toolkit.executors.open import open_executor
from toolkit.offload.flash_model import flash as flash_named
from toolkit.offload.orders import importance_of
from toolkit.offload.points import choose_point, least_memory, memory_of
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan, Point
from toolkit.plan.table_figures import slot_bytes

Options: TypeAlias = dict[str, Any]
COMPUTED, PARTS, BUNDLE, CACHE, PIPELINE = "computed", "parts", "bundle", "cache", "pipeline"
SECOND = "threads"


def pi2(
    plan_path: Path,
    prompts_of: Callable[..., list[list[int]]],
    new_tokens: int,
    repeats: int,
    memory: str | None = None,
    tell: Callable[..., None] = lambda *_: None,
    flash: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Keys as in `pocketcl bench --ladder pi2 --json`: `ladder`, a row for each rung.

    prompts_of  of the loaded plan: decoding follows the last one

    Raises PocketError where the plan selects no neurons by numbers, or an imitation was late.
    """
    plan = load_plan(plan_path, note=lambda _: None)
    model = flash_named(flash_of(plan, flash))
    point, prompt = choose_point(plan, memory_of(plan, memory)), prompts_of(plan)[-1]
    on = options.pop("on", "runner")
    options |= {"memory": memory, "flash": flash, "overlap": "cluster"}
    tell("which records are needed")
    seen = traced_run(plan_path, on, prompt, new_tokens, options)
    with ExitStack() as opened:
        ours = _contestants(opened, plan_path, on, plan, options)
        trials = run_trials(list(ours.values()), [prompt], new_tokens, repeats, tell)
        found = {name: each[-1] for name, each in trials.items()}
        measured = {
            name: flash_figures(each, found[name], flash, prefills=False)
            for name, each in ours.items()
            if name != COMPUTED
        }
        device, stats = ours[PIPELINE].executor.device.label, ours[PIPELINE].executor.stats()
    importance = [importance_of(plan_path, plan, each) for each in plan.tables]
    replays = Replays(plan, point, model, seen.steps, new_tokens, importance)
    rows = [_parts(replays, found[COMPUTED])]
    rows += [_run(name, plan, point, measured[name], found[name], seen) for name in measured]
    _compare(rows)
    return {
        **{"device": device, "flash": flash, "policy": point.policy, "memory": point.memory},
        "late_share": max(each["flash"]["late_share"] for each in measured.values()),
        "peak_rss_bytes": stats.get("peak_rss_bytes"),
        **{"new_tokens": new_tokens, "repeats": repeats},
        "ids_equal": same_ids([trial for each in found.values() for trial in each]),
        "record_bytes": slot_bytes(plan, point.slots),
        "most_record_bytes": seen.most_held(plan, point.pinned),
        "ladder": rows,
        "over_parts": rows[0]["seconds"] / min(row["seconds"] for row in rows),
    }


def runs_of(plan: Plan, options: Options) -> dict[str, Options]:
    """Options of each run, in the order of the rungs; the first one tells what computing takes."""
    options = {**options, "engine": "device"}
    in_turn = {**options, "overlap": "off"}
    gathers = (gather for phase in plan.phases for gather in phase.gathers())
    helped = any(gather.unit is not None for gather in gathers)
    second = {SECOND: {**options, "engine": "both"}} if helped else {}
    return {
        COMPUTED: {**options, "memory": "100%", "flash": None},
        BUNDLE: {**in_turn, "memory": str(least_memory(plan))},
        CACHE: in_turn,
        PIPELINE: options,
        **second,
    }


def _contestants(
    opened: ExitStack, path: Path, on: str, plan: Plan, options: Options
) -> dict[str, Ours]:
    found = {}
    for name, how in runs_of(plan, options).items():
        executor = open_executor(path, on, **how)
        opened.callback(executor.close)
        found[name] = Ours(executor)
        found[name].name = name
    return found


def _parts(replays: Replays, computed: Sequence[Trial]) -> Row:
    """Each token's time is that of reading, and of computing as measured."""
    row = parts_row(PARTS, replays, [trial.decode_s or 0.0 for trial in computed])
    told = percentiles(computed) or {}
    times = {name: each + row["io_s"] for name, each in told.items()}
    return {**row, "hit_rate": 0.0, **dict.fromkeys(MISSES), "token_s": times}


def _run(
    name: str,
    plan: Plan,
    point: Point,
    measured: Mapping[str, Any],
    trials: Sequence[Trial],
    seen: Traced,
) -> Row:
    row = run_row(name, point, measured, [trial.decode_s or 0.0 for trial in trials])
    misses = dict.fromkeys(MISSES) if name == BUNDLE else seen.figures()
    memory = least_memory(plan) if name == BUNDLE else point.memory
    told = {"memory": memory, "hit_rate": measured["hit_rate"], "token_s": percentiles(trials)}
    return {**row, **told, **misses}


def _compare(rows: Sequence[Row]) -> None:
    """How many times as fast each rung is as the one before it."""
    rows[0]["over_before"] = None
    for before, row in pairwise(rows):
        row["over_before"] = before["seconds"] / row["seconds"]
