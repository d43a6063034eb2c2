"""When a run goes on at another point: by how long reads take, and the memory that there is.

Nothing in it looks at a clock or at a machine. The runner's android_runner/offload/governor.cpp
decides the same, given the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

WINDOW = 8  # tokens between two looks; a change needs two that agree
KEPT = 11 / 13  # of an average, with each token: it tells of about 12
LEAST_S = 1e-4  # of a token's reads: below, they tell of the program's own time
STAYS = 1.1  # a speed is left where another one is nearer by this factor
BAND = 1 / 16  # of a budget: one that differs by less is the same


@dataclass(frozen=True)
class Choice:
    """What a run goes by.

    budget  bytes; None: as the last point
    flash   its speed against the profile's
    """

    budget: int | None
    flash: float


class Governor:
    """Of a plan that has points for these speeds of flash."""

    def __init__(self, speeds: Sequence[float], now: Choice) -> None:
        self._speeds, self._now = tuple(speeds), now
        self._predicted_s = self._seconds = 0.0  # a token's, averaged over those before
        self._tokens = 0  # since the last look
        self._speed_before, self._sign_before = 0.0, 0  # what the last look wanted

    def observe(self, tokens: int, predicted_s: float, seconds: float) -> bool:
        """So many tokens took `seconds` for reads that the profile takes `predicted_s` for.

        Returns whether `decide` is to be asked now.
        """
        kept, each = 1.0, 1 / max(1, tokens)
        for _ in range(tokens):  # a power may differ in its last bit
            kept *= KEPT
        self._predicted_s = kept * self._predicted_s + (1 - kept) * each * predicted_s
        self._seconds = kept * self._seconds + (1 - kept) * each * seconds
        self._tokens += tokens
        if self._tokens < WINDOW:
            return False
        self._tokens = 0
        return True

    def decide(self, budget: int | None = None) -> Choice | None:
        """What to go on with, where that is something else.

        budget  bytes that there are now, where the run is to follow them
        """
        now, speed, memory = self._now, self._wanted_speed(), self._wanted_budget(budget)
        sign = _sign(memory, now.budget)
        flash = speed != now.flash and speed == self._speed_before
        resize = sign != 0 and sign == self._sign_before
        self._speed_before, self._sign_before = speed, 0 if resize else sign
        if flash:
            self._now = replace(self._now, flash=speed)
        if resize:
            self._now = replace(self._now, budget=memory)
        return self._now if flash or resize else None

    def use(self, budget: int) -> None:
        """Somebody has asked for it."""
        self._now = replace(self._now, budget=budget)

    @property
    def slowness(self) -> float:
        """Seconds that reads take for each that was predicted, lately; 1 where that isn't known."""
        return self._seconds / self._predicted_s if self._known else 1.0

    @property
    def _known(self) -> bool:
        return self._predicted_s >= LEAST_S and self._seconds > 0

    def _wanted_speed(self) -> float:
        now = self._now.flash
        if not self._known:
            return now
        speed = self._predicted_s / self._seconds
        nearest = min((now, *self._speeds), key=lambda each: _ratio(each, speed))
        return nearest if _ratio(nearest, speed) * STAYS < _ratio(now, speed) else now

    def _wanted_budget(self, budget: int | None) -> int | None:
        now = self._now.budget
        if budget is None or now is None:
            return now if budget is None else budget
        return budget if not now * (1 - BAND) <= budget <= now * (1 + BAND) else now


def _ratio(one: float, other: float) -> float:
    """By how many times the one is the other, or the other the one."""
    return max(one / other, other / one)


def _sign(wanted: int | None, now: int | None) -> int:
    """Whether more is wanted, or less."""
    if wanted is None or now is None:
        return int(wanted is not None)
    return (wanted > now) - (wanted < now)
