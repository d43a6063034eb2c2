"""How long a session that has just begun takes to its first token: cold, and warm.

Warm is one that begins with what was in memory when the last one ended; cold is the same with that
set ignored. Both have their programs compiled, and read flash as the bench does. A start whose
imitation was late by more than a twentieth of the time to its token doesn't count.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.bench.trials import Ours, Trial, run_trial, spread
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.offload.counts import MOST_LATE, Counts
from toolkit.tables import size

PROMPT = 8  # tokens
KEYS = ("first_token_cold_s", "first_token_warm_s", "warm_bytes")
NO_FIGURES: dict[str, Any] = {**dict.fromkeys(KEYS), "first_token": None}
Opener = Callable[..., Executor]


def first_token_figures(
    plan_path: Path,
    on: str,
    folder: Path,
    text: Sequence[int],
    new_tokens: int,
    repeats: int,
    options: Mapping[str, Any],
    opener: Opener = open_executor,
) -> dict[str, Any]:
    """Keys of `pocketcl bench --json`; None each where there is nothing to begin with.

    folder   for the warm set, on the machine where the plan runs
    text     what the session before was fed; the prompt is its last ids
    options  of the executors

    first_token_cold_s, first_token_warm_s  from the prompt to the id, medians
    warm_bytes                              that a warm start reads before
    first_token                             every restart: loading, prompt to id, what was read
    """
    first = opener(plan_path, on, **options, warm=folder)
    try:
        run_trial(Ours(first), text, new_tokens)
    finally:
        first.close()
    restarts: dict[str, list[dict[str, Any]]] = {"cold": [], "warm": []}
    for _ in range(repeats):
        for name, warm in (("cold", "off"), ("warm", folder)):
            executor = opener(plan_path, on, **options, warm=warm)
            try:
                restarts[name].append(_restart(executor, text[-PROMPT:], options.get("flash")))
            finally:
                executor.close()
    good = {name: [each for each in found if not each["late"]] for name, found in restarts.items()}
    begun = any(each["warm_records"] for each in restarts["warm"])
    if not begun or not all(good.values()):
        return {**NO_FIGURES, "first_token": restarts if begun else None}
    seconds = [statistics.median(each["prompt_s"] for each in good[name]) for name in restarts]
    ahead = statistics.median(each["ahead_bytes"] for each in good["warm"])
    return {**dict(zip(KEYS, (*seconds, ahead), strict=True)), "first_token": restarts}


def _restart(executor: Executor, prompt: Sequence[int], flash: str | None) -> dict[str, Any]:
    ours = Ours(executor)
    trial: Trial = run_trial(ours, prompt, 0)
    stats = executor.stats()
    counts, late_s = Counts.of(stats), ours.reads[0][0].late_s
    return {
        "load_s": executor.load_s,
        "prompt_s": trial.prefill_s,
        "id": trial.ids[0],
        "read_bytes": counts.read_bytes,
        "ahead_bytes": counts.ahead_bytes,
        "warm_records": stats["tables"]["warm_records"],
        "late_s": late_s,  # not of what had come before the prompt: that was waited for by nobody
        "late": flash is not None and late_s > MOST_LATE * trial.prefill_s,
    }


def first_token_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """The same for people; nothing where there is no such plan."""
    cold, warm, ahead = (figures[key] for key in KEYS)
    if not figures["first_token"]:
        return
    if cold is None:
        yield "  first token   every restart's imitation was late: figures withheld"
        return
    times = {
        name: [each["prompt_s"] for each in found if not each["late"]]
        for name, found in figures["first_token"].items()
    }
    spreads = " and ".join(f"{spread(found) / 2:.0%}" for found in times.values())
    yield (
        f"  first token   of {PROMPT}, after a start: {1e3 * cold:.1f} ms cold, "
        f"{1e3 * warm:.1f} ms warm (± {spreads}), {size(int(ahead))} read ahead"
    )
