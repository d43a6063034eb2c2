"""Lines of text for people: tables, sections, sizes, rates, times."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

WIDTH = 98  # of a line
TIMES = ((7200, "h", 3600), (120, "min", 60), (1, "s", 1), (1e-4, "ms", 1e-3))  # from, scale


def size(count: int) -> str:
    """Bytes for people: 12.3 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def rate(per_second: float) -> str:
    """Tokens a second for people: 1,541.2; of slow ones two digits, 0.083."""
    return f"{per_second:,.1f}" if per_second >= 1 else f"{per_second:.2g}"


def seconds(value: float) -> str:
    """A time for people: 3.4 ms."""
    for least, unit, scale in TIMES:
        if value >= least:
            return f"{value / scale:,.1f} {unit}"
    return f"{1e6 * value:,.0f} µs"


def table(rows: Iterable[Sequence[Any]]) -> list[str]:
    """Columns, each as wide as its widest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """A title, indented lines, and an empty line."""
    yield title
    yield from (f"  {line}" for line in lines)
    yield ""


def wrapped(text: str, first: str, more: str) -> list[str]:
    """Lines of at most WIDTH, broken at spaces only: a name stays whole."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=more,
        break_long_words=False,
        break_on_hyphens=False,
    )
