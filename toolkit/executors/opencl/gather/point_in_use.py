"""Which of a plan's points it runs at: by a budget, or by the memory that the system has."""

from toolkit.errors import PocketError
from toolkit.offload.governor import Choice, Governor
from toolkit.offload.points import (
    AUTO,
    Usage,
    budget_from,
    choose_point,
    least_memory,
    speeds_of,
)
from toolkit.plan.schema import Plan
from toolkit.rss import available


class PointInUse:
    """`point` is the one; `usage` says how many tokens each has run."""

    def __init__(self, plan: Plan, memory: int | str | None) -> None:
        """`memory`: bytes that the point takes at most, or AUTO; None: the one that takes most."""
        self._automatic, self._plan = memory == AUTO, plan
        budget = _room(0) if isinstance(memory, str) else memory
        self.point, self.usage = choose_point(plan, budget), Usage()
        self._governor = Governor(speeds_of(plan), Choice(budget, self.point.flash))

    def use(self, memory: int) -> None:
        """From here on this budget, in bytes, whatever the system has."""
        self._governor.use(memory)
        self._automatic = False

    def decide(self, tokens: int) -> Choice | None:
        """After so many tokens: what to choose another point by.

        Only the memory of the system decides: times tell nothing of a flash here.
        """
        self.usage.note(self.point, tokens)
        if not self._governor.observe(tokens, 0.0, 0.0):
            return None
        least = least_memory(self._plan)
        room = max(least, _room(self.point.memory)) if self._automatic else None
        return self._governor.decide(room)


def _room(own: int) -> int:
    """What the system has to give, and what the run has of it already."""
    found = available()
    if found is None:
        because = "this system doesn't tell"
        what = "--memory auto goes by the memory that there is"
        raise PocketError(what, because, "--memory BYTES")
    return budget_from(found + own)
