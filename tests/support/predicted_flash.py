"""What is predicted of plans with weights in flash beside what they reach here, at the same time.

    python tests/support/predicted_flash.py PLAN MEMORY... [--flash ufs40,ufs31] [--probe FILE]

As in predicted_here.py: kernels are measured first, then trials of the plan, its flash imitated,
take turns with samples of the device's own rates. `--probe` names what `devices --probe --json` has
written: what launches, waits and threads cost; else it is as in the profile. The rows are README's:
tokens/s of decode, milliseconds to the first token, bytes a token, each predicted / measured. Where
the imitation was late by more than 5 % of the time they tell nothing, and are marked.
Tokens are those of `--text`, which is to be like the calibration's; without it random ones.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

from predicted_here import FEWEST, of_now, rates_here

from opencl_kernels.timing import Roof, Timer
from toolkit.bench.trials import Ours, run_trial
from toolkit.compiler.budget.clock import Clock
from toolkit.compiler.cost.rates import Rates
from toolkit.devices.match import Profile
from toolkit.devices.probe import profile_of
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError
from toolkit.estimate.flash.budgets import Budgets, of_plan
from toolkit.estimate.flash.points import reads_of
from toolkit.evaluation.inputs import random_ids
from toolkit.executors.interface import Executor
from toolkit.executors.open import open_executor
from toolkit.executors.opencl.device_choice import choose_device
from toolkit.generation.tokenizer import load_tokenizer
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan

PROMPT, NEW = 16, 48
CASE_S = 0.1  # of launches of each case of a kernel
PRICES = ("launch_us", "wake_us", "wait_us", "handoff_us")  # of a probe
LATE = 0.05  # of the time: an imitation that is later tells nothing

Pair = tuple[float, float]  # predicted and measured


def facts_of(plan: Plan, probe: Path | None) -> Profile:
    """The profile of the plan's device, with the prices that a probe has found."""
    facts = {**profiles()[str(plan.profile["name"])], **plan.profile}
    if probe is not None:
        found = profile_of(json.loads(probe.read_text()), date.today())
        facts |= {key: found[key] for key in PRICES if key in found}
    return facts


class Told(Ours):
    """A text is fed, whatever the model would say."""

    def __init__(self, executor: Executor, ids: list[int]) -> None:
        super().__init__(executor)
        self._ids = ids

    def decode(self, token: int, count: int) -> Iterator[int]:
        """The text's next tokens, one by one."""
        for at in range(self.past, self.past + count):
            yield self.executor.step(self._ids[at % len(self._ids)], at)
        self._count()


def ids_of(path: Path, text: Path | None) -> list[int]:
    """Of a text, far in; or random ones."""
    if text is None:
        return random_ids(load_plan(path), PROMPT + NEW)
    tokenizer = load_tokenizer(path)
    assert tokenizer is not None, f"{path} has no tokenizer"
    ids = tokenizer.encode(text.read_text(), False)
    return ids[len(ids) // 2 :][: PROMPT + NEW]


def trials(
    budgets: Budgets,
    facts: Profile,
    rates: Rates,
    roof: Roof,
    ours: Ours,
    ids: list[int],
    memory: str,
    end: float,
) -> Iterator[tuple[Pair, Pair, Pair]]:
    """Decode, first token and bytes a token of each trial."""
    plan, point, prompt = budgets.plan, budgets.at(memory), ids[:PROMPT]
    times = budgets.times(facts, rates)
    reads = reads_of(budgets, point)
    run_trial(ours, prompt, NEW)
    done = 0
    while done < FEWEST or time.monotonic() < end:
        done, mark = done + 1, roof.samples
        roof.sample()
        trial = run_trial(ours, prompt, NEW)
        roof.sample()
        changed = of_now(rates, roof, mark)
        by_now = replace(times, cost=replace(times.cost, rates=changed), _bytes={})
        clock = Clock(plan, facts, changed, by_now, point)
        first = 1e3 * sum(clock.prefill(PROMPT).values())
        decode = 1 / sum(clock.decode(PROMPT + NEW // 2).values())
        measured = 1 / (trial.decode_s or 1), ours.reads[-1][1].read_bytes / NEW
        yield (decode, measured[0]), (first, 1e3 * trial.prefill_s), (reads.bytes, measured[1])


def row(
    path: Path,
    memory: str,
    flash: str,
    rates: Rates,
    facts: Profile,
    roof: Roof,
    ids: list[int],
    seconds: float,
) -> str:
    """README's row of a plan in so much memory."""
    budgets = of_plan(path, load_plan(path), facts, flash, None)
    executor = open_executor(path, "runner", memory=memory, flash=flash)
    try:
        ours, end = Told(executor, ids), time.monotonic() + seconds
        found = list(trials(budgets, facts, rates, roof, ours, ids, memory, end))
        late = float(executor.stats()["tables"]["late_share"])
    finally:
        executor.close()
    about = f"| {path.stem} | {memory} | {flash} | {len(found)} "
    told = about + "".join(f"| {cells(pairs)} " for pairs in zip(*found, strict=True)) + "|"
    return told + (f" late by {late:.0%} |" if late > LATE else "")


def cells(found: tuple[Pair, ...]) -> str:
    """Medians, and that of the ratio."""
    predicted, measured = (statistics.median(each) for each in zip(*found, strict=True))
    ratio = statistics.median(p / m if m else 0.0 for p, m in found)
    return f"{predicted:,.4g} / {measured:,.4g} = {ratio:.2f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("memory", nargs="+")
    parser.add_argument("--flash", default="ufs40,ufs31,m1max")
    parser.add_argument("--probe", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    its = load_plan(given.plan)
    of_device = facts_of(its, given.probe)
    timer = Timer(choose_device(), CASE_S)
    its_roof = Roof(timer)
    its_rates = rates_here(timer, its_roof, its, of_device)
    words = ids_of(given.plan, given.text)
    for at in given.memory:
        for name in given.flash.split(","):
            try:
                roof, about = its_roof, (its_rates, of_device)
                told = row(given.plan, at, name, *about, roof, words, given.seconds)
            except PocketError as error:
                told = f"| {given.plan.stem} | {at} | {name} | {error} |"
            print(told, flush=True)
