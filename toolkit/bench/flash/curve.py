"""Decode rate and bytes read a token over memory, of a plan with weights in flash."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.bench.flash.reads import KEYS, flash_figures
from toolkit.bench.trials import Ours, figures_of, run_trials
from toolkit.errors import PocketError
from toolkit.executors.open import open_executor
from toolkit.tables import size, table

Prompts = Callable[..., list[list[int]]]


def curve(
    plan_path: Path,
    memories: Sequence[str],
    prompts_of: Prompts,
    new_tokens: int,
    repeats: int,
    on: str = "runner",
    flash: str | None = None,
    tell: Callable[..., None] = lambda *_: None,
    **options: Any,
) -> dict[str, Any]:
    """Keys as in `pocketcl bench --memory A,B --json`: `rows`, one for each budget.

    prompts_of  of the loaded plan: decoding follows the last one

    A row has `error` where the plan does not run in so little, or the imitation was late.
    """
    rows, ids, device = [], set[tuple[int, ...]](), None
    for memory in memories:
        tell(f"{memory} of memory")
        row: dict[str, Any] = {"asked": memory}
        try:
            executor = open_executor(plan_path, on, memory=memory, flash=flash, **options)
        except PocketError as error:
            rows.append(row | {"error": facts_of(error)})
            continue
        try:
            device, ours = executor.device.label, Ours(executor)
            prompt = prompts_of(executor.plan)[-1]
            trials = run_trials([ours], [prompt], new_tokens, repeats, tell)[ours.name][-1]
            ids.update(trial.ids for trial in trials)
            row |= {"peak_rss_bytes": executor.stats().get("peak_rss_bytes")}
            row |= {
                "ids": list(trials[-1].ids),
                **flash_figures(ours, trials, flash, prefills=False),
            }
            decoded = figures_of([trial.decode_s or 0.0 for trial in trials])
            row |= {"decode_tokens_per_s": decoded["tokens_per_s"], "spread": decoded["spread"]}
        except PocketError as error:
            row["error"] = facts_of(error)
        finally:
            executor.close()
        rows.append(row)
    about: dict[str, Any] = {
        "device": device,
        "executor": on,
        "flash": flash,
        "imitated": flash is not None,
    }
    about |= {"new_tokens": new_tokens, "repeats": repeats}
    return {**about, "ids_equal": len(ids) == 1 if ids else None, "rows": rows}


def lines(figures: Mapping[str, Any]) -> Iterator[str]:
    """A table, one row for each budget."""
    head = ("memory", "records", "tokens/s", "", "read a token", "reads", "hits", "waits", "peak")
    yield from rows_told(figures, head, _row, "at each budget")


def rows_told(
    figures: Mapping[str, Any],
    head: Sequence[str],
    row_of: Callable[[Mapping[str, Any]], Sequence[str]],
    where: str,
) -> Iterator[str]:
    """What ran, a table of its rows, their errors, and whether ids were the same in all."""
    imitated = f"flash imitated: {figures['flash']}" if figures["imitated"] else "flash as it is"
    yield f"{figures['device']}, {figures['executor']}, {figures['repeats']} repeats, {imitated}"
    yield from table([head, *(row_of(row) for row in figures["rows"])])
    for row in figures["rows"]:
        if "error" in row:
            yield f"{row['asked']}: {row['error']['what']}; {row['error']['because']}"
    if figures["ids_equal"] is not None:
        yield f"the same ids {where}" if figures["ids_equal"] else "ids differ"


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    if "error" in row:
        return (row["asked"], *[""] * 8)
    read, _, reads, _, hits, waits = (row[key] for key in KEYS)
    return (
        size(row["flash"]["memory"]),
        size(row["flash"]["record_bytes"]),
        f"{row['decode_tokens_per_s']:,.1f}",
        f"± {row['spread'] / 2:.0%}",
        size(int(read)),
        f"{reads:,.0f}",
        "" if hits is None else f"{hits:.1%}",
        f"{waits:.0%}",
        size(row["peak_rss_bytes"] or 0),
    )


def facts_of(error: PocketError) -> dict[str, str]:
    """Of the error that stands in a row."""
    return {"what": error.what, "because": str(error.because), "hint": error.hint}
