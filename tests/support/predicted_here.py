"""What `estimate` predicts of plans beside what they reach here, in the same seconds.

    python tests/support/predicted_here.py PLAN... [--seconds 40]

The kernels that a plan runs are measured as `bench --kernels` does it. Then trials of the plan take
turns with samples of the device's own rates, and each trial is predicted from those around it: on a
machine whose rates halve and double by the minute, figures of two minutes are of two machines. The
rows are README's, tokens/s with the quartiles of predicted / measured.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from opencl_kernels.timing import Roof, Timer
from toolkit.bench.kernel_bench import choose, measure
from toolkit.bench.kernel_profile import profile_of
from toolkit.bench.trials import Contestant, Ours, run_trial
from toolkit.compiler.budget.clock import Clock
from toolkit.compiler.cost.rates import Figure, Rates, rates_of
from toolkit.compiler.cost.work import share_names
from toolkit.compiler.lowering.kernel_case import kernel_case_of
from toolkit.devices.match import Profile
from toolkit.devices.profiles import profiles
from toolkit.evaluation.inputs import random_ids
from toolkit.executors.open import open_executor
from toolkit.executors.opencl.device_choice import choose_device
from toolkit.plan.load import load_plan
from toolkit.plan.schema import Plan
from toolkit.progress import PROGRESS

PROMPT, NEW = 512, 64
CASE_S = 0.15  # of launches of each case of a kernel
FEWEST = 3  # rounds

Pair = tuple[float, float]  # tokens/s, predicted and measured


def kernels_of(plan: Plan, device_class: str) -> list[Any]:
    """The kernels that a plan runs, and cases of those shares that its predictions take."""
    made = list(filter(None, map(kernel_case_of, plan.programs)))
    shares = {share_names(each.family, each.case)[0] for each in made}
    kernels = {program.kernel for program in plan.programs}
    return [
        each
        for each in choose((), "", device_class)
        if each[1].name in kernels and share_names(each[0], each[2])[0] in shares
    ]


def rates_here(timer: Timer, roof: Roof, plan: Plan, facts: Profile) -> Rates:
    """Those of a profile that `bench --kernels --save` would write now."""
    wanted = kernels_of(plan, timer.device_class.name)
    found = profile_of(measure(timer, roof, wanted, PROGRESS), date.today())
    kernels = {**facts["kernels"], **found["kernels"]}
    return rates_of("here", {**facts, **found, "kernels": kernels}, profiles())


def of_now(rates: Rates, roof: Roof, mark: int) -> Rates:
    """With the limits that the samples since `mark` found."""
    now = roof.rates(mark)
    limits = {"read": now.read, "arithmetic": now.multiply_add, "cached": now.cached}
    here: Any = {name: Figure(rate, "now") for name, rate in limits.items() if rate}
    return replace(rates, **here)


def rounds(
    plan: Plan, facts: Profile, rates: Rates, roof: Roof, ours: Contestant, end: float
) -> Iterator[tuple[Pair, Pair]]:
    """Prefill and decode of each trial."""
    prompt = random_ids(plan, PROMPT)
    run_trial(ours, prompt, 8)
    done = 0
    while done < FEWEST or time.monotonic() < end:
        done, mark = done + 1, roof.samples
        roof.sample()
        trial = run_trial(ours, prompt, NEW)
        roof.sample()
        clock = Clock(plan, facts, of_now(rates, roof, mark))
        prefill = PROMPT / sum(clock.prefill(PROMPT).values())
        decode = 1 / sum(clock.decode(PROMPT + NEW // 2).values())
        yield (prefill, PROMPT / trial.prefill_s), (decode, 1 / (trial.decode_s or 1))


def cells(found: Sequence[Pair]) -> str:
    """Medians, and the ratio with its quartiles."""
    predicted, measured = (statistics.median(each) for each in zip(*found, strict=True))
    low, middle, high = statistics.quantiles([p / m for p, m in found], n=4)
    return f"{predicted:,.1f} / {measured:,.1f} | {middle:.2f} ({low:.2f}–{high:.2f})"


def row(path: Path, seconds: float) -> str:
    """README's row of a plan."""
    end = time.monotonic() + seconds
    plan = load_plan(path)
    facts = {**profiles()[str(plan.profile["name"])], **plan.profile}
    timer = Timer(choose_device(), CASE_S)
    roof = Roof(timer)
    executor = open_executor(path, "runner")
    try:
        rates = rates_here(timer, roof, plan, facts)
        pairs = list(rounds(plan, facts, rates, roof, Ours(executor), end))
    finally:
        executor.close()
    prefill, decode = zip(*pairs, strict=True)
    return f"| {path.stem} | {cells(prefill)} | {cells(decode)} | {len(pairs)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("plans", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=40.0)
    given = parser.parse_args()
    for plan_path in given.plans:
        print(row(plan_path, given.seconds), flush=True)
