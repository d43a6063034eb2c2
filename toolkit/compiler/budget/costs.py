"""What the device takes to compute a token of a plan with tables, and its flash to read: predicted.

How fast it computes is in its profile, or isn't known.
"""

from collections.abc import Iterator
from dataclasses import replace

from toolkit.compiler.cost.predicted import seconds_of
from toolkit.compiler.cost.rates import Rates, rates_of
from toolkit.compiler.cost.work import made_from, program_of, work_of
from toolkit.devices.match import Profile
from toolkit.devices.profiles import profiles
from toolkit.errors import PocketError
from toolkit.offload.flash_model import Flash, flash
from toolkit.offload.planner import Costs
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.reader import from_json
from toolkit.plan.schema import Dispatch, Plan
from toolkit.plan.text import to_json

USUAL = "ufs40"  # what is planned for where nothing tells of the device's flash
WAIT = 35e-6  # seconds that the host's wait for a gather's scores takes, measured on PoCL
PROBED = {  # rates of a profile: order of reads -> (bytes of one, key)
    "random": ((4 << 10, "ufs_random_4k_gbs"), (512 << 10, "ufs_random_512k_gbs")),
    "sequential": ((1 << 20, "ufs_sequential_gbs"),),
}


def flash_for(plan: Plan, name: str | None) -> Flash:
    """That of a name; else what has been measured on the device, else a usual one."""
    facts = _facts(plan)
    keys = [key for rows in PROBED.values() for _, key in rows]
    if name is not None or not facts.keys() >= {*keys}:
        return flash(name or USUAL)
    table = {
        order: tuple((nbytes, 1e9 * float(facts[key])) for nbytes, key in rows)
        for order, rows in PROBED.items()
    }
    return Flash(str(facts["name"]), table=table, source="measured by devices --probe")


def costs_of(plan: Plan) -> Costs:
    """Of a token in the middle of the context; raises where the device's rates aren't known."""
    facts = _facts(plan)
    rates = rates_of(str(facts["name"]), facts, profiles())
    record = rates.share("neurons", "gemv e0m4", "gemv").bandwidth * rates.read.value
    rest = sum(_dispatches(plan, facts, rates))
    return Costs(rest=rest, byte=1 / record, launch=rates.launch.value, wait=WAIT)


def _dispatches(plan: Plan, facts: Profile, rates: Rates) -> Iterator[float]:
    """Seconds of each dispatch outside of gathers; of one whose work isn't told, of its launch."""
    read = from_json(to_json(replace(plan, points=())))  # cases of programs as they are read
    phase, past = token_phase(read), int(plan.model["max_context"]) // 2
    symbols = {"seq": 1, "past": past, "rows": 1, "text_length": past + 1}
    steps = () if phase is None else phase.steps
    for dispatch in (step for step in steps if isinstance(step, Dispatch)):
        yield rates.launch.value
        try:
            made = made_from(read.programs[program_of(dispatch, facts)])
        except PocketError:
            continue
        yield seconds_of(work_of(made, symbols, int(plan.model["batch"])), rates)


def _facts(plan: Plan) -> Profile:
    name = str(plan.profile["name"])
    return {**profiles().get(name, {}), **plan.profile}
