"""What the pictures of an estimate share: their size, and numbers in them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]
W = 420  # of every picture: its text stays readable on a phone's screen
LEFT, RIGHT = 58, 408
TOP, BOTTOM = 30, 200
MARGIN = 20  # of the sheet


@dataclass(frozen=True)
class Chart:
    """A picture of width W, with its title."""

    title: str
    height: float
    body: Sequence[str]

    def svg(self) -> str:
        """The element around it."""
        space = 'xmlns="http://www.w3.org/2000/svg"'
        box = f'viewBox="0 0 {W} {self.height:g}"'
        return f'<svg {space} {box} role="img">{"".join(self.body)}</svg>'


def short(value: float) -> str:
    """Three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
