"""The result of tuning: the last comparison with the defaults, as figures and as text."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opencl_kernels.kernel import Knobs
from toolkit.compiler.lowering.kernel_case import Site
from toolkit.tables import table
from toolkit.tuning.candidate_plan import Choice
from toolkit.tuning.choice import WHOLE, Compared, Round, per_step, verdict

NO_GAIN = {"ratio": None, "low": None, "high": None}


def judged(
    choice: Choice,
    before: Sequence[Round],
    after: Sequence[Round],
    changed: Callable[[Site, Knobs], Mapping[str, int]],
) -> tuple[dict[str, Any], set[Site]]:
    """Rows of the report, and the sites whose knobs beat the defaults.

    before, after  rounds of the defaults and of the choice, interleaved
    changed        the knobs of a site that are not at their default
    """
    rows, won = [], set()
    for site in sorted(choice):
        steps, knobs = per_step(site, before, after), changed(site, choice[site])
        gain = verdict(steps) if knobs else None
        won |= {site} if gain else set()
        if steps:
            rows.append(_row(site, steps, before, gain, knobs))
    whole = [{"step": s, **_figures(c)} for s, c in per_step(WHOLE, before, after).items()]
    return {"tuned": len(won), "kernels": rows, "steps": whole}, won


def lines(figures: dict[str, Any]) -> Iterator[str]:
    """The report for people."""
    yield f"{figures['device']}, {figures['driver']}, {figures['repeats']} repeats"
    yield from table([_cells(row) for row in figures["kernels"]])
    for step in figures["steps"] if figures["tuned"] else ():
        yield f"{step['step']}: {_gain(step)} from first to last kernel"
    if not figures["complete"]:
        yield "the budget ended before everything was tried"
    yield from (f"kept in {file}, for later compiles" for file in figures["files"])


def _row(
    site: Site,
    steps: Mapping[str, Compared],
    before: Sequence[Round],
    gain: tuple[str, Compared] | None,
    knobs: Mapping[str, int],
) -> dict[str, Any]:
    """The row of a site: the step that gained most or, without a gain, the longest one."""
    seconds = {s: statistics.median(each[site, s] for each in before) for s in steps}
    step = gain[0] if gain else max(seconds, key=lambda s: seconds[s])
    head = {"kernel": site[0], "shape": site[1], "step": step, "default_s": seconds[step]}
    found = _figures(gain[1]) if gain else NO_GAIN
    return {**head, "knobs": dict(knobs) if gain else {}, **found}


def _figures(found: Compared) -> dict[str, float]:
    return {"ratio": found.ratio, "low": found.low, "high": found.high}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    knobs = " ".join(f"{name}={value}" for name, value in row["knobs"].items())
    time = f"{1e6 * row['default_s']:,.0f} µs"
    gain = _gain(row) if knobs else ""
    return f"  {row['kernel']}", row["shape"], row["step"], time, knobs or "default", gain


def _gain(row: dict[str, Any]) -> str:
    return f"× {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
