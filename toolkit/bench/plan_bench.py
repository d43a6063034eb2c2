"""How fast a plan runs: prefill at several lengths, decode after one, loading, memory, overhead."""

import datetime
import os
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from opencl_kernels.device_class import is_cpu_class
from toolkit.bench.conditions import Watch, shell_of
from toolkit.bench.flash.changes import changes
from toolkit.bench.flash.curve import curve
from toolkit.bench.flash.first_token import NO_FIGURES, first_token_figures
from toolkit.bench.flash.ladder import ladder as climb
from toolkit.bench.flash.misses import KEYS as MISSES
from toolkit.bench.flash.misses import traced_run
from toolkit.bench.flash.pi2 import pi2
from toolkit.bench.flash.reads import flash_figures
from toolkit.bench.kv_copies import kv_copy_bytes
from toolkit.bench.load import compiling_into, empty_cache, load_twice
from toolkit.bench.rivals import comparison, open_rivals
from toolkit.bench.screen import Screen, beside_a_screen
from toolkit.bench.timeline import write_trace
from toolkit.bench.trials import (
    Contestant,
    Ours,
    Trial,
    figures_of,
    percentiles,
    run_trial,
    run_trials,
)
from toolkit.errors import PocketError
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.executors.spans import Profiled, Span, length_s, overhead_us, runs_of
from toolkit.files import check_folder
from toolkit.plan import figures as plan_figures
from toolkit.plan.load import load_plan
from toolkit.plan.origin import noted
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Plan
from toolkit.version import __version__

LENGTHS = (1, 64, 512)  # of prompts, where the context has room
PROFILED = 32  # decode steps whose kernels are timed
TRACED = 4  # decode steps that a timeline shows after the prefill


def bench(
    plan_path: Path,
    prompt_tokens: int | Sequence[int] | None = None,
    new_tokens: int = 64,
    repeats: int = 5,
    on: str = "runner",
    compare: Sequence[str] = (),
    trace: Path | None = None,
    cool_to: float | None = None,
    ui: bool = False,
    memory: str | Sequence[str] | None = None,
    ladder: str | None = None,
    dense: Path | None = None,
    budgets: Sequence[str] = (),
    progress: Callable[..., None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Load, warm up, repeat; keys as in `pocketcl bench --json`.

    prompt_tokens  lengths of prompts; decoding follows the last one
    compare        names of rivals that run in turn with the plan
    trace          a file for the timeline of a prefill and some decode steps
    cool_to        wait before each repeat until the device's skin is at most this warm, in °C
    memory         of plans with weights in flash: a budget, or several of them for a curve
    ladder         lif, pi2: what each idea of LLM in a flash, or of PowerInfer-2, is worth, in
                   place of all else
    dense          of the ladder: the same model, compiled without a budget
    budgets        of plans with weights in flash: memory that one run gets one after the other,
                   each with a flash behind @ where that changes, in place of all else
    ui             also run beside a client that draws every 16 ms, and tell how long it waits
    """
    tell = progress or (lambda *_: None)
    wanted = partial(_prompts, lengths=prompt_tokens, new_tokens=new_tokens)
    if ladder:
        budget = None if memory is None else str(memory)
        told = (plan_path, wanted, new_tokens, repeats, budget)
        if ladder == "pi2":
            return pi2(*told, tell, on=on, **options)
        return climb(*told, dense, tell, on=on, **options)
    if budgets:
        return changes(plan_path, budgets, wanted, new_tokens, repeats, on, tell=tell, **options)
    if isinstance(memory, (list, tuple)):
        return curve(plan_path, memory, wanted, new_tokens, repeats, on, tell=tell, **options)
    options |= {} if memory is None else {"memory": memory}
    if trace:
        check_folder(trace)
    if compare and on == "phone":
        because = "rivals run on this computer, the plan on the phone"
        hint = "leave out --compare, or use --on runner"
        raise PocketError("there is nothing to compare", because, hint)
    prompts = wanted(load_plan(plan_path, note=lambda _: None))  # or it is told before all loading
    with empty_cache(on, options.get("serial")) as cache:
        tell("loading")
        executor, load = load_twice(plan_path, on, cache, options, open_executor)
        # rates: trials of the plan and its rivals, without profiling
        try:
            rivals = open_rivals(compare, executor.plan, threads_of(executor))
            contestants: list[Contestant] = [Ours(executor), *rivals]
            watch = Watch(shell_of(executor), cool_to, tell)
            trials = run_trials(
                contestants, prompts, new_tokens, repeats, tell, watch.before_repeat
            )
            watch.look()
            figures = _report(executor, load, prompts, trials[executor.name], new_tokens)
            ours = cast(Ours, contestants[0])
            figures |= flash_figures(ours, trials[executor.name][-1], options.get("flash"))
            figures["about"]["plan"] = plan_path.absolute().name
            figures["conditions"] = watch.report(trials[executor.name][-1])
            figures["compare"] = [
                comparison(rival, trials[executor.name], trials[rival.name], prompts)
                for rival in rivals
            ]
            figures["ui"] = None
            if ui:
                with Screen(on, options.get("serial")) as screen:
                    figures["ui"] = beside_a_screen(
                        contestants[0],
                        screen,
                        prompts[-1],
                        new_tokens,
                        repeats,
                        tell,
                        cores_of(executor),
                    )
        finally:
            executor.close()
        # the first token: executors that have just begun, where they begin with something
        figures |= {**NO_FIGURES, **dict.fromkeys(MISSES)}
        if executor.plan.tables and on != "phone":  # a trace is a file of this machine
            tell("what tokens miss")
            with compiling_into(cache, on, options) as own:
                figures |= traced_run(plan_path, on, prompts[-1], new_tokens, own).figures()
        if executor.plan.tables:
            figures |= _first_token(plan_path, on, cache, prompts[-1], new_tokens, repeats, options)
        # kernel times: another executor, since profiling slows it
        tell("kernel times")
        spans = profile(plan_path, on, cache, prompts[-1], new_tokens, options)
    decoding = [span for span in spans if span.phase == "decode"]
    figures["host_overhead_us"] = overhead_us(decoding)
    figures["kernel_span_us"] = {name: span_us(spans, name) for name in ("prefill", "decode")}
    if trace:
        write_trace(trace, _traced(spans), figures["device"])
    return figures


def _first_token(
    plan_path: Path,
    on: str,
    cache: Path,
    prompt: Sequence[int],
    new_tokens: int,
    repeats: int,
    options: dict[str, Any],
) -> dict[str, Any]:
    with compiling_into(cache, on, options) as own:
        text = (prompt, new_tokens, repeats, own, open_executor)
        return first_token_figures(plan_path, on, cache / "warm", *text)


def _traced(spans: Sequence[Span]) -> list[Span]:
    """The spans that a timeline shows: the prefill, and the first decode steps."""
    runs = runs_of(spans)
    shown = [run for run in runs if run[0].phase != "decode"]
    shown += [run for run in runs if run[0].phase == "decode"][:TRACED]
    return [span for run in shown for span in run]


def profile(
    plan_path: Path,
    on: str,
    cache: Path,
    prompt: Sequence[int],
    new_tokens: int,
    options: dict[str, Any],
) -> list[Span]:
    """Kernel times of a prefill and its decode steps; run apart, since profiling is slow."""
    with compiling_into(cache, on, options) as own:
        executor = open_executor(plan_path, on, profile=True, **own)
    try:
        count, profiled = min(new_tokens, PROFILED), cast(Profiled, executor)
        run_trial(Ours(executor), prompt, min(count, 8))
        profiled.start_profile()
        run_trial(Ours(executor), prompt, count)
        return profiled.take_profile()
    finally:
        executor.close()


def span_us(spans: Sequence[Span], phase: str) -> float | None:
    """Microseconds from first to last kernel of a run of this phase: the median."""
    found = [1e6 * length_s(run) for run in runs_of(spans) if run[0].phase == phase]
    return statistics.median(found) if found else None


def cores_of(executor: Executor) -> int:
    """Of a device that is a processor, else 0."""
    is_cpu = is_cpu_class(executor.plan.profile.get("class"))
    return executor.device.compute_units if is_cpu else 0


def threads_of(executor: Executor) -> int:
    """Threads for a rival: as many as a CPU device has compute units; against a GPU, all cores."""
    return cores_of(executor) or os.cpu_count() or 1


def about(executor: Executor) -> dict[str, Any]:
    """What was run, where, and when."""
    plan = executor.plan
    path = noted(plan, "path")
    return {
        "model": Path(path).parent.name if path.endswith(".onnx") else Path(path).name,
        "profile": plan.profile.get("name"),
        "driver": executor.device.driver,
        "platform": executor.device.platform,
        "date": datetime.datetime.now().astimezone().isoformat(" ", "minutes"),
        "pocketcl": f"PocketCL {__version__}",
    }


def _prompts(plan: Plan, lengths: int | Sequence[int] | None, new_tokens: int) -> list[list[int]]:
    from toolkit.evaluation.inputs import random_ids

    context = int(plan.model["max_context"])
    room = context - new_tokens
    if lengths is None:
        lengths = [n for n in LENGTHS if n <= room] or [max(1, room)]
    wanted = [lengths] if isinstance(lengths, int) else list(lengths)
    if max(wanted) > context or wanted[-1] > room:
        raise PocketError(
            f"{max(wanted)} prompt tokens and {new_tokens} new ones don't fit",
            f"the plan was compiled for {context} positions",
            f"pass --prompt-tokens {context // 2} --new-tokens {context // 2}",
        )
    return [random_ids(plan, n) for n in wanted]


def _report(
    executor: Executor,
    load: dict[str, Any],
    prompts: list[list[int]],
    trials: list[list[Trial]],
    new_tokens: int,
) -> dict[str, Any]:
    plan, stats, last = executor.plan, executor.stats(), trials[-1]
    decode = token_phase(plan)
    prefill = [
        {"tokens": len(prompt), **figures_of([trial.prefill_s for trial in each], len(prompt))}
        for prompt, each in zip(prompts, trials, strict=True)
    ]
    decoded = figures_of([trial.decode_s for trial in last if trial.decode_s is not None])
    return {
        "about": about(executor),
        "device": executor.device.label,
        "executor": executor.name,
        "prefill_tokens_per_s": prefill[-1]["tokens_per_s"],
        "decode_tokens_per_s": decoded["tokens_per_s"],
        "first_token_s": prefill[-1]["seconds"],
        "load_s": load["warm_s"],
        "dispatches_per_token": len(decode.dispatches()) if decode else 0,
        "kv_copy_bytes_per_token": kv_copy_bytes(plan, decode) if decode else 0,
        "host_us_per_token": stats.get("host_us_per_token"),
        "peak_rss_bytes": stats.get("peak_rss_bytes"),
        "weight_bytes": plan_figures.weight_bytes(plan),
        "spread": {"prefill": prefill[-1]["spread"], "decode": decoded["spread"]},
        "prompt_tokens": len(prompts[-1]),
        "new_tokens": new_tokens,
        "repeats": len(last),
        "prefill": prefill,
        "decode": {"after": len(prompts[-1]), **decoded, "token_s": percentiles(last)},
        "load": load,
        "memory": plan_figures.memory(plan),
        "series": {
            "prefill_s": [[trial.prefill_s for trial in each] for each in trials],
            "decode_s": [trial.decode_s for trial in last],
            "at_s": [trial.at_s for trial in last],
        },
        **executor.target.facts(),
    }
