"""Small pictures: axes with round numbers, marks, text that can't break out of its element."""

import math
from collections.abc import Iterator, Sequence
from html import escape

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#3ca951", "#a463f2", "#9c6b4e", "#97bbf5", "#6cc5b0")
SHAPES = (  # centred on (0, 0); they tell kernels of one colour apart
    '<circle r="5"/>',
    '<rect x="-4.5" y="-4.5" width="9" height="9"/>',
    '<path d="M0-6L5.5 4.5H-5.5Z"/>',
    '<path d="M0-6.5L6 0L0 6.5L-6 0Z"/>',
)


class LogAxis:
    """A logarithmic axis over whole decades."""

    def __init__(self, values: Sequence[float], first: float, last: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self.first, self.last = first, last

    def at(self, value: float) -> float:
        """Where a value lies on the picture."""
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return round(self.first + share * (self.last - self.first), 1)

    def ticks(self) -> list[float]:
        """The values at the lines of the grid."""
        return [10.0**power for power in range(self.low, self.high + 1)]


class Axis:
    """A linear axis between round numbers; from zero unless `zero` is false."""

    def __init__(
        self,
        values: Sequence[float],
        first: float,
        last: float,
        zero: bool = True,
        steps: int = 4,
        tight: bool = False,
    ) -> None:
        """`tight`: the axis ends at the largest value, not at a round number."""
        low, high = (0.0 if zero else min(values)), max(values)
        high = high if high > low else low + 1
        self.step = round_step((high - low) / steps)
        self.low = math.floor(low / self.step) * self.step
        self.high = high if tight else math.ceil(high / self.step - 1e-9) * self.step
        self.first, self.last = first, last

    def at(self, value: float) -> float:
        """Where a value lies on the picture."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.first + share * (self.last - self.first), 1)

    def ticks(self) -> list[float]:
        """The values at the lines of the grid."""
        count = math.floor((self.high - self.low) / self.step + 1e-9)
        return [self.low + self.step * i for i in range(count + 1)]


def round_step(size: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(size))
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= size * (1 - 1e-9))


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    """A line of text, escaped; `kind` is its class."""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{named}>{escape(words)}</text>'


def tip(words: str) -> str:
    """What a browser shows when the mouse rests on the element around it."""
    return f"<title>{escape(words)}</title>"


def rows(x: tuple[float, float], axis: Axis, unit: str = "") -> Iterator[str]:
    """Horizontal lines of a grid, with their values left of it."""
    for value in axis.ticks():
        y = axis.at(value)
        yield f'<path class="grid" d="M{x[0]:g} {y:g}H{x[1]:g}"/>'
        yield text(x[0] - 6, y + 4, f"{value:,.10g}{unit}", "end", "tick")
