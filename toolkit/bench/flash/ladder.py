"""`bench --ladder`: what each idea of LLM in a flash is worth, by runs that take turns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from toolkit.bench.flash.reads import flash_figures
from toolkit.bench.flash.rungs import Replays, coalescing, run_row, summed
from toolkit.bench.flash.what_if import Steps, steps_of
from toolkit.bench.trials import Ours, Trial, run_trial, run_trials
from toolkit.errors import PocketError
from toolkit.executors.open import open_executor
from toolkit.offload.flash_model import flash as flash_named
from toolkit.offload.orders import importance_of
from toolkit.offload.points import choose_point, memory_of
from toolkit.paths import PLAN_FILE
from toolkit.plan.figures import weight_bytes
from toolkit.plan.load import load_plan
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Plan
from toolkit.plan.table_figures import slot_bytes
from toolkit.plan.text import to_json

LOWEST = float(np.finfo(np.float32).min)  # a threshold that every neuron is above
OVERLAPPED = "cluster"  # whatever the environment says
EVERY, CHOSEN, APART, RUN = "all neurons", "chosen neurons", "one by one", "run"  # who takes turns


def ladder(
    plan_path: Path,
    prompts_of: Callable[..., list[list[int]]],
    new_tokens: int,
    repeats: int,
    memory: str | None = None,
    dense: Path | None = None,
    tell: Callable[..., None] = lambda *_: None,
    flash: str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Keys as in `pocketcl bench --ladder lif --json`: `ladder`, a row for each rung (rungs.py).

    prompts_of  of the loaded plan: decoding follows the last one
    dense       the same model without --memory: it computes all neurons in place of the plan

    Raises PocketError where the plan selects no neurons by numbers, or the imitation was late.
    """
    plan = load_plan(plan_path, note=lambda _: None)
    model = flash_named(flash_of(plan, flash))
    point, prompt = choose_point(plan, memory_of(plan, memory)), prompts_of(plan)[-1]
    options |= {"memory": memory, "flash": flash}
    options["overlap"] = options.get("overlap") or OVERLAPPED
    tell("which records are needed")
    steps = _needed(plan_path, prompt, new_tokens, options)
    with ExitStack() as opened:
        ours = _contestants(opened, plan_path, plan, dense, options)
        trials = run_trials(list(ours.values()), [prompt], new_tokens, repeats, tell)
        found = {name: each[-1] for name, each in trials.items()}
        runs = {"bundle": APART, "overlap": RUN}
        measured = {
            rung: flash_figures(ours[who], found[who], flash, prefills=False)
            for rung, who in runs.items()
        }
        device, stats = ours[RUN].executor.device.label, ours[RUN].executor.stats()
    importance = [importance_of(plan_path, plan, each) for each in plan.tables]
    replays = Replays(plan, point, model, steps, new_tokens, importance)
    seconds = {name: [trial.decode_s or 0.0 for trial in each] for name, each in found.items()}
    rows = summed(replays, _weights(plan, dense), seconds[EVERY], seconds[CHOSEN])
    rows += [run_row(rung, point, measured[rung], seconds[who]) for rung, who in runs.items()]
    late = max(each["flash"]["late_share"] for each in measured.values())
    return {
        **{"device": device, "flash": flash, "late_share": late},
        **{"memory": point.memory, "peak_rss_bytes": stats.get("peak_rss_bytes")},
        **{"policy": point.policy, "dense": dense and dense.name},
        **{"new_tokens": new_tokens, "repeats": repeats},
        "ids_equal": same_ids(found[CHOSEN] + found[APART] + found[RUN]),
        "ladder": rows,
        "over_naive": rows[0]["seconds"] / rows[-1]["seconds"],
        "over_hybrid": rows[1]["seconds"] / rows[-1]["seconds"],
        "coalescing": coalescing(replays),
    }


def flash_of(plan: Plan, flash: str | None) -> str:
    """The profile, of a plan that has rungs."""
    decode = token_phase(plan)
    rules = {gather.select.by for gather in decode.gathers()} if decode else set()
    if not plan.tables:
        because = "the plan has no weights in flash: all of it lies in memory"
        hint = "compile the model with --memory"
    elif "above" not in rules or rules - {"above", "all", "ids"}:
        because = "a token of this plan selects no neurons by a threshold"
        hint = "pocketcl calibrate the model, then compile it with --calibration"
    elif flash is None:
        because = "what reads take is told by the profile of a flash"
        hint = "--flash m1max, or another one"
    else:
        return flash
    raise PocketError("--ladder has no rungs here", because, hint)


def _contestants(
    opened: ExitStack, path: Path, plan: Plan, dense: Path | None, options: Mapping[str, Any]
) -> dict[str, Ours]:
    resident = {**options, "memory": "100%", "flash": None, "overlap": OVERLAPPED}
    if dense:
        every = (dense, {**resident, "memory": None, "overlap": None})
    else:
        folder = Path(opened.enter_context(TemporaryDirectory()))
        every = (_unchosen(folder, path, plan), resident)
    apart = {**options, "overlap": "off"}
    others = ((CHOSEN, path, resident), (APART, path, apart), (RUN, path, options))
    found = {}
    for name, where, how in ((EVERY, *every), *others):
        executor = open_executor(where, **how)
        opened.callback(executor.close)
        found[name] = Ours(executor)
        found[name].name = name
    return found


def _unchosen(folder: Path, path: Path, plan: Plan) -> Path:
    """The plan with thresholds that every neuron is above; its files are links."""
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    above = [gather.select.by == "above" for gather in gathers]
    numbers = (np.where(above, LOWEST, point.select).tolist() for point in plan.points)
    pairs = zip(plan.points, numbers, strict=True)
    points = tuple(replace(point, select=tuple(each)) for point, each in pairs)
    for entry in plan.files:
        (folder / entry.path).parent.mkdir(parents=True, exist_ok=True)
        os.symlink((path / entry.path).absolute(), folder / entry.path)
    (folder / PLAN_FILE).write_text(to_json(replace(plan, points=points)), encoding="utf-8")
    return folder


def _needed(path: Path, prompt: Sequence[int], count: int, options: Mapping[str, Any]) -> Steps:
    """Which records the gathers of a run select."""
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        executor = open_executor(path, **options, trace=trace)
        try:
            run_trial(Ours(executor), prompt, count)
        finally:
            executor.close()
        return steps_of(trace)


def _weights(plan: Plan, dense: Path | None) -> int:
    """Bytes of all weights, wherever they lie."""
    if dense:
        return weight_bytes(load_plan(dense))
    return weight_bytes(plan) + slot_bytes(plan, [each.count for each in plan.tables])


def same_ids(trials: Sequence[Trial]) -> bool:
    """Whether all of them decoded the same."""
    return len({trial.ids for trial in trials}) == 1
