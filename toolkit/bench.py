"""How fast a plan runs: prefill, decode and first token, medians of several repeats."""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from toolkit.errors import PocketError
from toolkit.executor import Executor, open_executor
from toolkit.plan import Dispatch, HostStep, Phase, Plan

# Kernels that take a state without moving it: they write the new token's K and V, or only read.
IN_PLACE = ("rope_kv", "attention_prefill", "attention_decode")


def bench(
    plan_path: Path,
    prompt_tokens: int = 64,
    new_tokens: int = 64,
    repeats: int = 5,
    on: str = "runner",
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Load, warm up, repeat; keys as in `pocketcl bench --json`."""
    tell = progress or (lambda _: None)
    tell("loading")
    executor = open_executor(plan_path, on, **options)
    try:
        plan = executor.plan
        prompt = _prompt(plan, prompt_tokens, new_tokens)
        tell("warming up")
        _run(executor, prompt, min(new_tokens, 8))
        runs = []
        for i in range(repeats):
            tell(f"repeat {i + 1} of {repeats}")
            runs.append(_run(executor, prompt, new_tokens))
        return _report(executor, prompt, new_tokens, runs)
    finally:
        executor.close()


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    spread = figures["spread"]
    yield f"{figures['device']}, {figures['executor']}"
    for key, count in (("prefill", "prompt_tokens"), ("decode", "new_tokens")):
        rate = f"{figures[f'{key}_tokens_per_s']:,.1f} tokens/s"
        yield f"  {key:<13}{rate:<20}± {spread[key] / 2:.0%}   {figures[count]} tokens"
    yield f"  first token  {1e3 * figures['first_token_s']:.1f} ms"
    yield f"  load         {figures['load_s']:.2f} s"
    yield f"  dispatches   {figures['dispatches_per_token']} a token"
    if figures["host_us_per_token"] is not None:
        yield f"  host         {figures['host_us_per_token']:.0f} µs a token"
    yield f"  KV copied    {figures['kv_copy_bytes_per_token']} bytes a token"
    yield f"  weights      {figures['weight_bytes'] / 1e6:.1f} MB"
    if figures["peak_rss_bytes"] is not None:
        yield f"  peak memory  {figures['peak_rss_bytes'] / 1e6:.1f} MB"


def dispatches(plan: Plan) -> dict[str, int]:
    """Kernel launches of each phase."""
    return {phase.name: len(phase.dispatches()) for phase in plan.phases}


def kv_copy_bytes(plan: Plan, phase: Phase) -> int:
    """Bytes of KV cache that a phase's steps move beyond the new tokens' own K and V.

    A step that takes a state is either one of IN_PLACE or counts with all the state's bytes.
    """
    moved = 0
    for step in phase.steps:
        if isinstance(step, HostStep):
            moved += _state_bytes(plan, [step.buffer])
        elif isinstance(step, Dispatch):
            kernel = plan.programs[step.variants[0].program].kernel.removesuffix("_cpu")
            if kernel not in IN_PLACE:
                moved += _state_bytes(plan, [int(a[-1]) for a in step.args if a[0] == "buffer"])
    return moved


def weight_bytes(plan: Plan) -> int:
    """Bytes of all packed weights."""
    return sum(weight.bytes for weight in plan.weights)


def _state_bytes(plan: Plan, buffers: list[int]) -> int:
    return sum(plan.buffers[i].bytes for i in buffers if plan.buffers[i].kind == "state")


def _prompt(plan: Plan, prompt_tokens: int, new_tokens: int) -> list[int]:
    from toolkit.verify import random_ids

    context = int(plan.model["max_context"])
    if prompt_tokens + new_tokens > context:
        raise PocketError(
            f"{prompt_tokens} prompt tokens and {new_tokens} new ones don't fit",
            f"the plan was compiled for {context} positions",
            f"--prompt-tokens {context // 2} --new-tokens {context // 2}",
        )
    return random_ids(plan, prompt_tokens)


def _run(executor: Executor, prompt: list[int], new_tokens: int) -> dict[str, float]:
    """Seconds of prefill (to the first token) and of the `new_tokens` decode steps after it."""
    started = time.perf_counter()
    token = executor.prefill(prompt, 0)
    first = time.perf_counter()
    count = sum(1 for _ in executor.decode(token, len(prompt), new_tokens, ()))
    return {"prefill": first - started, "decode": (time.perf_counter() - first) / max(count, 1)}


def _report(
    executor: Executor, prompt: list[int], new_tokens: int, runs: list[dict[str, float]]
) -> dict[str, Any]:
    plan, stats = executor.plan, executor.stats()
    decode = plan.phase("decode")
    seconds = {key: [run[key] for run in runs] for key in ("prefill", "decode")}
    prefill_s = statistics.median(seconds["prefill"])
    return {
        "device": executor.device,
        "executor": executor.name,
        "prefill_tokens_per_s": len(prompt) / prefill_s,
        "decode_tokens_per_s": 1 / statistics.median(seconds["decode"]),
        "first_token_s": prefill_s,
        "load_s": executor.load_s,
        "dispatches_per_token": len(decode.dispatches()) if decode else 0,
        "kv_copy_bytes_per_token": kv_copy_bytes(plan, decode) if decode else 0,
        "host_us_per_token": stats.get("host_us_per_token"),
        "peak_rss_bytes": stats.get("peak_rss_bytes"),
        "weight_bytes": weight_bytes(plan),
        "spread": {key: _spread(values) for key, values in seconds.items()},
        "prompt_tokens": len(prompt),
        "new_tokens": new_tokens,
        "repeats": len(runs),
    }


def _spread(values: list[float]) -> float:
    """Slowest minus fastest, as a share of the median."""
    return (max(values) - min(values)) / statistics.median(values)
