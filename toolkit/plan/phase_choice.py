"""Which phase runs: of those that give what is wanted, the narrowest whose bounds hold.

The runner has the same (android_runner/plan/phase_choice.h); one table of questions is held against
both.
"""

from collections.abc import Iterable, Iterator, Mapping

from toolkit.plan.schema import Phase, Plan


class PhaseChoice:
    """The phases of a plan, by what they give: the buffers that their fetch steps name."""

    def __init__(self, plan: Plan) -> None:
        """Narrow phases come first, in the order of the plan where they are equally narrow."""
        self._boxes = {phase.name: plan.box(phase) for phase in plan.phases}
        self._giving = dict[str, list[Phase]]()
        for phase in sorted(plan.phases, key=self._width):
            for index in phase.fetched():
                self._giving.setdefault(plan.buffers[index].name, []).append(phase)

    def giving(self, buffer: str) -> list[Phase]:
        """All phases that give this buffer, the narrowest first."""
        return self._giving.get(buffer, [])

    def find(self, buffer: str, values: Mapping[str, int]) -> Phase | None:
        """The phase that gives this buffer for these values of symbols, if there is one."""
        return next((p for p in self.giving(buffer) if self._holds(p, values)), None)

    def longest(self, buffer: str, symbol: str) -> int:
        """The greatest value of a symbol that phases which give this buffer take."""
        return max((self._boxes[p.name][symbol][1] or 0 for p in self.giving(buffer)), default=0)

    def _holds(self, phase: Phase, values: Mapping[str, int]) -> bool:
        box = self._boxes[phase.name]
        return all(box[name][0] <= value <= (box[name][1] or 0) for name, value in values.items())

    def _width(self, phase: Phase) -> int:
        """How many values its bounds leave to its symbols, summed up."""
        return sum((high or 0) - low for low, high in self._boxes[phase.name].values())


def token_phase(plan: Plan) -> Phase | None:
    """The phase that feeds one token of a text and chooses the next."""
    return PhaseChoice(plan).find("ids", {"seq": 1, "past": 0, "rows": 1})


def pieces(plan: Plan, tokens: int, gives: str = "ids") -> Iterator[int]:
    """How many tokens of a text are fed at a time, by phases that give a buffer; none: none does.

    Where ids are wanted, pieces of at most `short_prompt` tokens are fed one by one.
    """
    most = min(int(plan.model["prefill_chunk"]), PhaseChoice(plan).longest(gives, "seq"))
    short = int(plan.model.get("short_prompt", 0)) if gives == "ids" else 0
    while most and tokens:
        count = min(most, tokens)
        count = 1 if count <= short else count
        yield count
        tokens -= count


def names_of(phases: Iterable[Phase]) -> tuple[str, ...]:
    """The names of phases."""
    return tuple(phase.name for phase in phases)
