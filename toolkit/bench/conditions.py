"""What a device went through while it was measured: looks between repeats, and what they tell.

`conditions` in the figures: {"states": looks before, between and behind the repeats, "throttled":
true, false or null (unknown), "reasons", "first_throttled_repeat", "cooled", "battery_percent"}.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from toolkit.bench.turns import Turn
from toolkit.executors.interface import Executor
from toolkit.phone.state import THERMAL, PhoneState, Shell, read_state, wait_until_cool

DROP = 0.03  # a limit this much lower than at the start is one
SLOWER = 0.05  # rates this much lower than at the start are looked into


class Watch:
    """Looks at a device before, between and behind repeats; cools it down where asked to."""

    def __init__(
        self, shell: Shell, cool_to: float | None = None, tell: Callable[..., None] | None = None
    ) -> None:
        self.shell, self.cool_to, self.tell = shell, cool_to, tell or (lambda *_: None)
        self.states: list[PhoneState] = []
        self.cooled: list[str] = []
        self.patient = cool_to is not None

    def before_repeat(self) -> None:
        """Cool down where that is asked for, then look."""
        self.cool()
        self.look()

    def look(self) -> None:
        """How is it now?"""
        self.states.append(read_state(self.shell))

    def cool(self) -> None:
        """Wait until it is cool enough; once it didn't get there, don't wait again."""
        if self.cool_to is None or not self.patient:
            return
        self.patient, story = wait_until_cool(self.shell, self.cool_to, progress=self.tell)
        self.cooled.append(story)

    def report(self, turns: Sequence[Turn]) -> dict[str, Any]:
        """The conditions of these turns, [repeat]."""
        signs = [list(heat_signs(self.states[0], state)) for state in self.states[1:]]
        first = next((i for i, found in enumerate(signs) if found), None)
        slowing = slower(turns)
        tells = any(s.thermal_status is not None or s.gpu_limit_mhz for s in self.states)
        unknown = None if slowing or not tells else False
        start, end = self.states[0].battery.level, self.states[-1].battery.level
        return {
            "states": [state.as_json() for state in self.states],
            "throttled": unknown if first is None else True,
            "reasons": [*(signs[first] if first is not None else []), *filter(None, [slowing])],
            "first_throttled_repeat": first,
            "cooled": self.cooled,
            "battery_percent": None if start is None or end is None else end - start,
        }


def shell_of(executor: Executor) -> Shell:
    """How to ask the machine that an executor runs on."""
    return executor.target.shell


def heat_signs(before: PhoneState, now: PhoneState) -> Iterator[str]:
    """What says that the system slows itself down because of heat, compared with the start."""
    if (now.thermal_status or 0) > max(before.thermal_status or 0, 0):
        word = before.thermal_word or THERMAL[0]
        yield f"Android's thermal status rose from {word} to {now.thermal_word}"
    elif now.thermal_status and now.thermal_status >= 2:
        yield f"Android's thermal status was {now.thermal_word} from the start"
    if _dropped(before.gpu_limit_mhz, now.gpu_limit_mhz):
        yield f"the GPU's limit fell from {before.gpu_limit_mhz:.0f} to {now.gpu_limit_mhz:.0f} MHz"
    for first, last in zip(before.clusters, now.clusters, strict=False):
        if _dropped(first.limit_mhz, last.limit_mhz):
            yield (
                f"the limit of core {first.cores[0]} and its like fell from"
                f" {first.limit_mhz:.0f} to {last.limit_mhz:.0f} MHz"
            )


def slower(turns: Sequence[Turn]) -> str:
    """Whether the last repeat decoded slower than the first, beyond how neighbours differ."""
    rates = [1 / turn.decode_s for turn in turns if turn.decode_s]
    if len(rates) < 3:
        return ""
    middle = statistics.median(rates)
    steps = [abs(b - a) / middle for a, b in pairwise(rates)]
    lost = 1 - rates[-1] / rates[0]
    if lost < max(SLOWER, 2 * statistics.median(steps)):
        return ""
    return f"the last repeat decoded {lost:.0%} slower than the first"


def lines(conditions: Mapping[str, Any]) -> Iterator[str]:
    """The conditions for people; nothing where the machine told nothing."""
    states = conditions["states"]
    first, last = states[0], states[-1]
    for label, key, unit in (
        ("heat", "skin_celsius", "°C"),
        ("GPU clock", "gpu_mhz", "MHz"),
    ):
        if first[key] is not None and last[key] is not None:
            yield f"  {label:<14}{first[key]:.0f} to {last[key]:.0f} {unit}"
    if last["thermal_word"]:
        yield f"  {'thermal':<14}{first['thermal_word']} to {last['thermal_word']}"
    battery = [state["battery"] for state in (first, last)]
    if all(each["level"] is not None for each in battery):
        power = f", powered by {battery[1]['powered']}" if battery[1]["powered"] else ""
        yield f"  {'battery':<14}{battery[0]['level']} to {battery[1]['level']} %{power}"
    yield from (f"  {'cooled':<14}{story}" for story in conditions["cooled"])
    word = "THROTTLED" if conditions["throttled"] else "slowing"
    yield from (f"  {word:<14}{reason}" for reason in conditions["reasons"])


def _dropped(before: float | None, now: float | None) -> bool:
    return before is not None and now is not None and now < (1 - DROP) * before
