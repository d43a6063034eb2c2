"""What the device takes to compute a token of a plan with tables, and its flash to read: predicted.

How fast it computes is in its profile, or isn't known.
"""

from dataclasses import replace
from itertools import islice

from toolkit.compiler.cost.phase_cost import PhaseCost
from toolkit.compiler.cost.rates import Rates, rates_of
from toolkit.compiler.cost.work import Symbols
from toolkit.devices.match import Profile
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError
from toolkit.offload.flash_model import Flash, flash
from toolkit.offload.prediction.ahead_time import LookAhead
from toolkit.offload.prediction.token_time import Costs
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.reader import from_json
from toolkit.plan.schema import Gather, Phase, Plan
from toolkit.plan.table_figures import waits_for_nobody
from toolkit.plan.text import to_json

USUAL = "ufs40"  # what is planned for where nothing tells of the device's flash
COPIED = 2  # times that a byte crosses the memory's bus when it is copied
PROBED = {  # rates of a profile: order of reads -> (bytes of one, key)
    "random": ((4 << 10, "ufs_random_4k"), (512 << 10, "ufs_random_512k")),
    "sequential": ((1 << 20, "ufs_sequential"),),
}
BEST, ALONE = "_gbs", "_alone_gbs"  # of the key: where several threads read, or one


# Of a processor with two cores, where nothing tells of the device: only ratios of times count.
UNKNOWN = {"bandwidth_measured_gbs": 20.0, "fp32_tflops": 0.2, "fp16_tflops": 0.4}


def flash_for(facts: Profile, name: str | None) -> Flash:
    """That of a name; else what has been measured on the device, else a usual one."""
    found = _probed(facts, BEST)
    if name is not None or not found:
        return flash(name or USUAL)
    source = "measured by devices --probe"
    return Flash(str(facts["name"]), table=found, alone=_probed(facts, ALONE), source=source)


def facts_of(plan: Plan) -> Profile:
    """The profile that a plan was compiled for."""
    name = str(plan.profile["name"])
    return {**profiles().get(name, {}), **plan.profile}


def cost_of(plan: Plan, facts: Profile) -> PhaseCost:
    """Of a plan's dispatches, where one may not tell its work; raises for rates nobody knows."""
    read = from_json(to_json(replace(plan, points=())))  # cases of programs as they are read
    return PhaseCost(read, facts, rates_of(str(facts["name"]), facts, profiles()), partly=True)


def is_known(facts: Profile) -> bool:
    """Whether something tells how fast the device computes."""
    try:
        rates_of(str(facts["name"]), facts, profiles())
    except PocketError:
        return False
    return True


def usual_cost_of(plan: Plan, facts: Profile) -> PhaseCost:
    """The same; of a device whose rates nobody knows those of a usual one."""
    try:
        return cost_of(plan, facts)
    except PocketError:
        return cost_of(plan, {**UNKNOWN, **facts})


def costs_of(cost: PhaseCost, computed: float = 0.0) -> Costs:
    """Of a token in the middle of the context; `computed`: bytes of its records."""
    plan = cost.plan
    phase, symbols = token_phase(plan), middle(plan)
    chosen = [] if phase is None else phase.gathers()
    if phase is None or not chosen:
        return Costs()
    like = next((each for each in chosen if each.select.by != "ids"), chosen[0])
    found = of_gathers(plan, cost.rates, phase, like)
    rest = cost.step(phase, symbols, round(computed)).whole
    byte = max((byte_of(cost, g, symbols) for g in chosen), default=0.0)
    return replace(found, rest=rest, byte=byte)


def middle(plan: Plan) -> Symbols:
    """Of a token in the middle of the context."""
    past = int(plan.model["max_context"]) // 2
    return {"seq": 1, "past": past, "rows": 1, "text_length": past + 1}


def looks_of(
    cost: PhaseCost, phase: Phase, symbols: Symbols, computed: float = 0.0
) -> list[LookAhead]:
    """The prefetches of a phase; `computed`: bytes of its records."""
    every = [each for p in cost.plan.phases for each in p.prefetches()]
    found, steps = [], phase.steps
    for prefetch in phase.prefetches():
        first = steps.index(prefetch) + 1
        gathers = (i for i in range(first, len(steps)) if isinstance(steps[i], Gather))
        begun, last = islice(gathers, 2)
        numbers = tuple(i for i, each in enumerate(every) if each.table == prefetch.table)
        name, inside = f"{phase.name}: behind {prefetch.name}", tuple(steps[begun + 1 : last])
        part = replace(phase, name=name, steps=inside)
        during = steps[begun]
        assert isinstance(during, Gather)
        found.append(
            LookAhead(
                numbers,
                during.table,
                prefetch.table,
                cost.ahead(phase, prefetch, symbols),
                cost.step(part, symbols, round(computed)).whole,
            )
        )
    return found


def of_gathers(plan: Plan, rates: Rates, phase: Phase, gather: Gather) -> Costs:
    """What is alike for all gathers of a phase on a device, each like this one."""
    run, whole, count = rates.launch.value + rates.wake.value, None, len(gather.dispatches)
    one_run = phase.cooperative is not None
    step = rates.step.value if one_run else rates.launch.value
    if waits_for_nobody(plan, gather):  # two runs and what is between become one run
        whole = count * step - (run if one_run else 0.0)
    return Costs(
        whole=whole,
        choice=0.0 if gather.choose is None else step,
        launch=run,
        wait=rates.wait.value,
        select=rates.select.value,
        handoff=rates.handoff.value,
        copy=COPIED / rates.read.value,
    )


def byte_of(cost: PhaseCost, gather: Gather, symbols: Symbols) -> float:
    """Seconds that a gather's dispatches take for a byte of a record, among many."""
    table = cost.plan.tables[gather.table]
    many = gather.tile or table.count
    known = cost.gathered(gather, many, symbols) / (many * table.bytes)
    rates = cost.rates
    return known or 1 / (rates.share("neurons", "gemv e0m4", "gemv").bandwidth * rates.read.value)


def _probed(facts: Profile, suffix: str) -> dict[str, tuple[tuple[int, float], ...]]:
    """Rates by order and size; nothing where one of them isn't known."""
    keys = {name + suffix for rows in PROBED.values() for _, name in rows}
    if not facts.keys() >= keys:
        return {}
    return {
        order: tuple((nbytes, 1e9 * float(facts[name + suffix])) for nbytes, name in rows)
        for order, rows in PROBED.items()
    }
