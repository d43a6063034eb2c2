"""The device's heat, clocks and battery between repeats, and whether it throttled.

`conditions` in the figures: {"states": one before each repeat and one after the last, "throttled":
true, false or null (unknown), "reasons", "first_throttled_repeat", "cooled", "battery_percent"}.
"""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from toolkit.bench.trials import Trial
from toolkit.executors.interface import Executor
from toolkit.phone.state import THERMAL, PhoneState, Shell, read_state, wait_until_cool

DROP = 0.03  # a clock limit lowered by more than this share counts as throttling
SLOWER = 0.05  # a decode rate lowered by less than this share is noise


class Watch:
    """Records a device's state around the repeats and, if asked to, lets it cool down first."""

    def __init__(
        self, shell: Shell, cool_to: float | None = None, tell: Callable[..., None] | None = None
    ) -> None:
        self.shell, self.cool_to, self.tell = shell, cool_to, tell or (lambda *_: None)
        self.states: list[PhoneState] = []
        self.cooled: list[str] = []
        self.patient = cool_to is not None

    def before_repeat(self) -> None:
        """Wait for the device to cool down if asked to, then record its state."""
        self.cool()
        self.look()

    def look(self) -> None:
        """Record the current state."""
        self.states.append(read_state(self.shell))

    def cool(self) -> None:
        """Wait until the device is cool enough; after one wait that failed, don't wait again."""
        if self.cool_to is None or not self.patient:
            return
        self.patient, story = wait_until_cool(self.shell, self.cool_to, progress=self.tell)
        self.cooled.append(story)

    def report(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """The conditions of these trials, [repeat]."""
        signs = [list(heat_signs(self.states[0], state)) for state in self.states[1:]]
        first = next((i for i, found in enumerate(signs) if found), None)
        slowing = slower(trials)
        # Without a sign, "false" needs a device that reports heat or limits and did not slow down.
        reports = any(s.thermal_status is not None or s.gpu_limit_mhz for s in self.states)
        without_sign = None if slowing or not reports else False
        start, end = self.states[0].battery.level, self.states[-1].battery.level
        return {
            "states": [state.as_json() for state in self.states],
            "throttled": without_sign if first is None else True,
            "reasons": [*(signs[first] if first is not None else []), *filter(None, [slowing])],
            "first_throttled_repeat": first,
            "cooled": self.cooled,
            "battery_percent": None if start is None or end is None else end - start,
        }


def shell_of(executor: Executor) -> Shell:
    """How to ask the machine that an executor runs on."""
    return executor.target.shell


def heat_signs(before: PhoneState, now: PhoneState) -> Iterator[str]:
    """Signs of thermal throttling: what changed since the start."""
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


def slower(trials: Sequence[Trial]) -> str:
    """The sentence, if decoding slowed down by more than successive repeats differ anyway."""
    rates = [1 / trial.decode_s for trial in trials if trial.decode_s]
    if len(rates) < 3:
        return ""
    middle = statistics.median(rates)
    steps = [abs(b - a) / middle for a, b in pairwise(rates)]
    lost = 1 - rates[-1] / rates[0]
    if lost < max(SLOWER, 2 * statistics.median(steps)):
        return ""
    return f"the last repeat decoded {lost:.0%} slower than the first"


def lines(conditions: Mapping[str, Any]) -> Iterator[str]:
    """The conditions for people; nothing where the device reports nothing."""
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
