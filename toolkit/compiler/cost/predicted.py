"""How long each dispatch of a plan takes on its device, predicted: what executors begin with."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from toolkit.compiler.budget.point import CLUSTER
from toolkit.compiler.cost.rates import Rates, rates_of
from toolkit.compiler.cost.work import Work, made_from, of_records, program_of, work_of
from toolkit.devices.match import Profile
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError
from toolkit.plan.expr import Box
from toolkit.plan.reader import from_json
from toolkit.plan.schema import Dispatch, Gather, Phase, Plan, Step, with_dispatches
from toolkit.plan.table_figures import at_once
from toolkit.plan.text import to_json

LONGEST = 2**31 - 1  # microseconds that a plan can say


def seconds_of(work: Work, rates: Rates, resident: bool = False) -> float:
    """The longer of moving and computing, at the shares that the family's kernels reach.

    Where these are `soft` both count, as the legs of a right triangle: each where it is far longer.

    resident  what it reads is in the device's cache since the step before
    """
    share = rates.share(*work.names)
    read = rates.cached if resident and rates.cached else rates.read
    moving = work.bytes / (share.bandwidth * read.value)
    computing = work.operations / (share.arithmetic * rates.arithmetic.value)
    return math.hypot(moving, computing) if share.soft else max(moving, computing)


def with_times(plan: Plan) -> Plan:
    """The plan of a language model with the time of each dispatch whose work is known.

    Without them, as where nothing tells the rates of the device, executors go by what they measure.
    """
    name = str(plan.profile["name"])
    facts = {**profiles().get(name, {}), **plan.profile}
    try:
        rates = rates_of(name, facts, profiles())
    except PocketError:
        return plan
    read = from_json(to_json(plan))  # cases of programs as they are read
    return replace(plan, phases=tuple(_timed(each, read, facts, rates) for each in plan.phases))


def _timed(phase: Phase, plan: Plan, facts: Profile, rates: Rates) -> Phase:
    symbols, known = _greatest(plan.box(phase)), dict[tuple[Any, ...], int | None]()
    cluster = max((point.cluster for point in plan.points), default=CLUSTER)

    def timed(step: Step) -> Step:
        most = at_once(plan, step, cluster) if isinstance(step, Gather) else 0

        def time_of(dispatch: Dispatch) -> Dispatch:
            key = dispatch.variants, most
            if key not in known:
                known[key] = _microseconds(plan, dispatch, most, symbols, facts, rates)
            return replace(dispatch, microseconds=known[key])

        return with_dispatches(step, time_of)

    return replace(phase, steps=tuple(map(timed, phase.steps)))


def _microseconds(
    plan: Plan,
    dispatch: Dispatch,
    most: int,
    symbols: Mapping[str, int],
    facts: Profile,
    rates: Rates,
) -> int | None:
    """None where no variant runs by the profile, or the plan doesn't tell what one computes.

    most  records that it runs over, inside of a gather
    """
    try:
        made = made_from(plan.programs[program_of(dispatch, facts)])
    except PocketError:
        return None
    work = work_of(of_records(made, most), symbols, int(plan.model["batch"]))
    return min(LONGEST, 1 + int(1e6 * (seconds_of(work, rates) + rates.launch.value)))


def _greatest(box: Box) -> dict[str, int]:
    """Every symbol at the end of its bounds."""
    found = {name: high for name, (_, high) in box.items() if high is not None}
    return found | {"text_length": found["past"] + found["seq"]}
