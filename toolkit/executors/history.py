"""Which ids the states of a plan hold, and how far back they can be rewound.

The runner has the same (android_runner/session/history.h); one table of moves is held against both.
"""

from collections.abc import Sequence

from toolkit.errors import PocketError
from toolkit.plan.schema import Plan


class History:
    """The id at every position that was fed, and how far the states were filled.

    reached  positions that the states were filled up to, rewinding or not
    """

    def __init__(self, plan: Plan) -> None:
        """Nothing is fed yet."""
        context = int(plan.model["max_context"])
        self._chunk = int(plan.model["prefill_chunk"])
        appended = (state.capacity for state in plan.states if state.update == "append")
        self._ring = min([context, *(capacity or context for capacity in appended)])
        self._ids: list[int] = []
        self.reached = 0

    @property
    def length(self) -> int:
        """Positions whose id is known and whose states are filled."""
        return min(len(self._ids), self.reached)

    def holds(self, past: int) -> bool:
        """Whether the states still hold what position `past` looks back on.

        A ring has slots for its window and one chunk: filled up to `reached`, it has the window of
        each of the last `prefill_chunk` positions. What lies further back is overwritten.
        """
        return past == 0 or self.reached <= self._ring or self.reached - past <= self._chunk

    def first(self, past: int) -> list[int]:
        """The ids at the first `past` positions; raises where there are fewer."""
        if not 0 <= past <= self.length:
            raise PocketError(
                f"there are no {past} positions",
                f"the states hold a text of {self.length} tokens",
                "what was fed can be saved, and no more",
            )
        return self._ids[:past]

    def feed(self, ids: Sequence[int], past: int) -> None:
        """Ids go in at position `past`; those that came after it are forgotten."""
        self.note(ids, past)
        self.reach(past, len(ids))

    def note(self, ids: Sequence[int], past: int) -> None:
        """The ids at positions from `past` on, for which states are filled already."""
        self._ids[past:] = ids

    def reach(self, past: int, count: int) -> None:
        """States are filled for `count` positions from `past` on, whose ids may come later.

        A text that starts anew forgets the old one.
        """
        self.reached = count if past == 0 else max(self.reached, past + count)

    def fail(self, past: int, count: int) -> None:
        """A run of `count` positions has failed: states from `past` on hold nobody knows what."""
        del self._ids[past:]
        self.reach(past, count)

    def append(self, token: int) -> None:
        """The id of the next position."""
        self._ids.append(token)

    def restore(self, ids: Sequence[int], reached: int) -> None:
        """What a state file holds."""
        self._ids, self.reached = list(ids), reached
