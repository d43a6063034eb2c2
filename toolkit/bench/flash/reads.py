"""Figures of flash in a bench: what each decoded token reads, finds in memory, and waits for.

Who waits is the thread that launches: the device may compute what it was given before meanwhile. So
the share of the time that it waits is the most that reads can cost.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

from toolkit.bench.trials import Ours, Trial
from toolkit.offload.counts import Counts, flash_facts, too_late
from toolkit.tables import size

KEYS = (
    "flash_bytes_per_token",
    "flash_used_bytes_per_token",
    "reads_per_token",
    "read_sizes",
    "hit_rate",
    "io_share",
)


def flash_figures(
    ours: Ours, trials: Sequence[Trial], flash: str | None, prefills: bool = True
) -> dict[str, Any]:
    """Keys of `pocketcl bench --json`, of the timed trials; None each where nothing is in flash.

    trials    those after the last prompt, with decoding
    flash     the profile that was imitated
    prefills  False: their figures are not told, so that they may be late

    Raises PocketError where the imitation was late.
    """
    if not ours.executor.plan.tables:
        return {"flash": None, **dict.fromkeys(KEYS), "flash_prefill": None}
    timed = ours.reads[-len(trials) :]
    told = (part for each in timed for part in (each if prefills else each[1:]))
    whole = reduce(add, told, Counts())
    if late := too_late(flash, whole):
        raise late
    return {
        "flash": flash_facts(ours.executor.stats(), flash, whole),
        **_by_token([each[1] for each in timed if len(each) > 1], trials),
        "flash_prefill": _of_prefill([each[0] for each in timed], trials, flash)
        if prefills
        else None,
    }


def _by_token(decoded: Sequence[Counts], trials: Sequence[Trial]) -> dict[str, Any]:
    counts = reduce(add, decoded, Counts())
    tokens = sum(len(trial.ids) - 1 for trial in trials)
    seconds = sum((trial.decode_s or 0.0) * (len(trial.ids) - 1) for trial in trials)
    values = (
        counts.read_bytes / tokens,
        counts.used_bytes / tokens,
        counts.reads / tokens,
        {str(nbytes): n for nbytes, n in sorted(counts.read_sizes.items())},
        counts.hits / counts.selected if counts.selected else None,
        counts.waited_s / seconds,
    )
    return dict(zip(KEYS, values, strict=True))


def _of_prefill(
    prefills: Sequence[Counts], trials: Sequence[Trial], flash: str | None
) -> dict[str, Any]:
    """Of the last prompt: what one prefill reads and waits for.

    waited_s    that the host waited for reads; `stalled_s`: of it, at most, what the device did
    imitated_s  that the flash which is imitated reads in that
    hidden      the share of this in which the device computed, at least; that reading takes cores
                from a device which is a CPU isn't in it
    """
    counts, each = reduce(add, prefills, Counts()), 1 / len(trials)
    read = counts.imitated_s if flash else 0.0
    return {
        "seconds": statistics.median(trial.prefill_s for trial in trials),
        "bytes": counts.read_bytes * each,
        "reads": counts.reads * each,
        "io_share": counts.waited_s / sum(trial.prefill_s for trial in trials),
        "waited_s": counts.waited_s * each,
        "stalled_s": counts.stalled_s * each,
        "imitated_s": None if flash is None else counts.imitated_s * each,
        "hidden": 1 - counts.stalled_s / read if read else None,
    }


def flash_lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """The same for people; nothing where all weights lie in memory."""
    flash = figures["flash"]
    if not flash:
        return
    budget, held = size(flash["memory"]), size(flash["record_bytes"])
    yield f"  budget        {budget}, {held} of it records of weights in flash"
    read, used = (size(int(figures[key])) for key in KEYS[:2])
    reads = f"{figures['reads_per_token']:,.0f} reads"
    hits = "" if figures["hit_rate"] is None else f", {figures['hit_rate']:.1%} found in memory"
    yield f"  flash         {read} a token in {reads}, {used} of them used{hits}"
    if figures.get("miss_mean") is not None:
        mean, worst = figures["miss_mean"], figures["miss_p99"]
        yield f"  {'':<14}{mean:.1%} of what a token selects is missed, P99 {worst:.1%}"
    yield f"  {'':<14}{figures['io_share']:.0%} of the time waited for reads{_source(flash)}"
    prompt = figures["flash_prefill"]
    waits = f"{prompt['io_share']:.0%} of the time waited for them"
    hidden = "" if prompt["hidden"] is None else f", {prompt['hidden']:.0%} of the reading hidden"
    yield f"  {'':<14}a prefill reads {size(int(prompt['bytes']))}, {waits}{hidden}"


def _source(flash: Mapping[str, Any]) -> str:
    if flash["imitated"]:
        return f"; imitated: {flash['profile']}, late {flash['late_share']:.1%}"
    return "" if flash["direct"] else "; not past the page cache"
