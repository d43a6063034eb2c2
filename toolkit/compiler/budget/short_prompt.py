"""Up to how many tokens of a prompt are fed one by one, where a token needs few of the records.

Fed at once they need all records, however few they are; fed one by one, only those that each of
them selects, of which most may lie in memory. A plan has one such number, by its last point: what a
text is answered with depends neither on memory nor on how fast its flash is.
"""

from collections.abc import Sequence
from dataclasses import replace

from toolkit.compiler.budget.clock import Clock
from toolkit.compiler.budget.costs import facts_of, usual_cost_of
from toolkit.compiler.budget.gather_time import GatherTime
from toolkit.compiler.budget.planned import unchosen
from toolkit.offload.flash_model import Flash
from toolkit.offload.prediction.demand import Demand
from toolkit.plan.phase_choice import token_phase
from toolkit.plan.schema import Plan


def with_short_prompt(plan: Plan, demands: Sequence[Demand], flash: Flash) -> Plan:
    """The plan, and what it says of short prompts.

    demands  by table: how a token needs it
    """
    if not needs_few(plan):
        return plan
    cost = usual_cost_of(plan, facts_of(plan))
    times = GatherTime(cost, flash, demands, unchosen(plan))
    clock = Clock(cost.plan, cost.facts, cost.rates, times, plan.points[-1])
    return _told(plan, most_one_by_one(clock))


def with_own_prompts(clock: Clock) -> Clock:
    """The same of the plan that a compile would make for its point."""
    if not needs_few(clock.plan):
        return clock
    return replace(clock, plan=_told(clock.plan, most_one_by_one(clock)))


def needs_few(plan: Plan) -> bool:
    """Whether a token that is fed alone selects among a network's records."""
    phase = token_phase(plan)
    rules = set() if phase is None else {each.select.by for each in phase.gathers()}
    return bool(rules - {"all", "ids"})


def most_one_by_one(clock: Clock) -> int:
    """The most tokens, and all fewer, that are predicted to take no longer one by one."""
    alone, found = sum(clock.decode(0).values()), 1
    for count in range(2, int(clock.plan.model["prefill_chunk"]) + 1):
        if count * alone > sum(clock.step(count, 0).seconds.values()):
            break
        found = count
    return found


def _told(plan: Plan, tokens: int) -> Plan:
    """The plan with this number; one token is fed alone anyway."""
    return replace(plan, model={**plan.model, "short_prompt": tokens}) if tokens > 1 else plan
