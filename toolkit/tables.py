"""Lines of text for people: tables, sections, sizes, rates."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

WIDTH = 98  # of a line


def size(count: int) -> str:
    """Bytes for people: 12.3 MB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def rate(per_second: float) -> str:
    """Tokens a second for people: 1,541.2; of slow ones two digits, 0.083."""
    return f"{per_second:,.1f}" if per_second >= 1 else f"{per_second:.2g}"


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
