"""The roofline picture (Williams et al. 2009) of `bench --kernels`, as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from toolkit.drawing.svg import COLOURS, SHAPES, LogAxis
from toolkit.errors import PocketError
from toolkit.files import check_folder

WIDTH, HEIGHT = 960, 560
LEFT, RIGHT, TOP, BOTTOM = 76, 700, 56, 490  # of the plot; the legend stands right of it


def write_roofline(path: Path, figures: Mapping[str, Any]) -> None:
    """Draw the kernels of a report under the device's roof."""
    check_path(path)
    rows = [row for row in figures["kernels"] if row["flops"] and row["bytes"]]
    if not rows:
        raise PocketError(
            "there is nothing to draw",
            "these kernels do no arithmetic",
            "name others with --kernel, or leave out --roofline",
        )
    path.write_text("\n".join(_picture(figures, rows)) + "\n", encoding="utf-8")


def check_path(path: Path) -> None:
    """Raise before minutes of measuring, not after them."""
    if path.suffix.lower() != ".svg":
        raise PocketError(
            f"{path} cannot be drawn",
            "the roofline is an SVG file, which any browser shows",
            f"pass --roofline {path.with_suffix('.svg')}",
        )
    check_folder(path)


def _picture(figures: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    read, peak = figures["rates"]["read_gb_s"], figures["rates"]["multiply_add_gflop_s"]
    intensity = [row["flops"] / row["bytes"] for row in rows]
    x = LogAxis([*intensity, peak / read], LEFT, RIGHT)
    y = LogAxis([*(row["gflop_s"] for row in rows), peak], BOTTOM, TOP)
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="system-ui, sans-serif" font-size="12" fill="#222">'
    )
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
    yield f'<text x="{LEFT}" y="30" font-size="15">{escape(figures["device"][:80])}</text>'
    yield from _grid(x, y)
    yield from _roof(x, y, read, peak)
    yield from _points(x, y, rows)
    yield "</svg>"


def _grid(x: LogAxis, y: LogAxis) -> Iterator[str]:
    for value in x.ticks():
        at = x.at(value)
        yield f'<path d="M{at} {TOP}V{BOTTOM}" stroke="#ddd"/>'
        yield f'<text x="{at}" y="{BOTTOM + 18}" text-anchor="middle">{value:g}</text>'
    for value in y.ticks():
        at = y.at(value)
        yield f'<path d="M{LEFT} {at}H{RIGHT}" stroke="#ddd"/>'
        yield f'<text x="{LEFT - 8}" y="{at + 4}" text-anchor="end">{value:g}</text>'
    middle = (LEFT + RIGHT) / 2
    note = "operations per byte (above the slope: activations from a cache)"
    yield f'<text x="{middle}" y="{BOTTOM + 42}" text-anchor="middle">{note}</text>'
    yield (
        f'<text transform="translate(22 {(TOP + BOTTOM) / 2}) rotate(-90)"'
        ' text-anchor="middle">GFLOP/s</text>'
    )


def _roof(x: LogAxis, y: LogAxis, read: float, peak: float) -> Iterator[str]:
    # The slope begins where it enters the plot: at its left or its lower edge.
    start = max(10.0**x.low, 10.0**y.low / read)
    knee = max(start, peak / read)
    points = [(start, min(peak, start * read)), (knee, peak), (10.0**x.high, peak)]
    line = " ".join(f"{x.at(a)},{y.at(b)}" for a, b in points)
    yield f'<polyline points="{line}" fill="none" stroke="#222" stroke-width="2"/>'
    label = f"{read:.1f} GB/s read, {peak:.0f} GFLOP/s multiply-add"
    yield f'<text x="{RIGHT}" y="{y.at(peak) - 8}" text-anchor="end">{label}</text>'


def _points(x: LogAxis, y: LogAxis, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(row["kernel"] for row in rows))
    marks = {name: _mark(number) for number, name in enumerate(names)}
    for row in rows:
        at = f"{x.at(row['flops'] / row['bytes'])} {y.at(row['gflop_s'])}"
        tip = f"{row['kernel']} {row['case']}: {row['roof_share']:.0%} of the roof"
        mark, colour = marks[row["kernel"]]
        yield (
            f'<g transform="translate({at})" fill="{colour}" fill-opacity=".8" stroke="#fff">'
            f"<title>{escape(tip)}</title>{mark}</g>"
        )
    for number, (name, (mark, colour)) in enumerate(marks.items()):
        top = TOP + 10 + 20 * number
        yield f'<g transform="translate({RIGHT + 24} {top})" fill="{colour}">{mark}</g>'
        yield f'<text x="{RIGHT + 38}" y="{top + 4}">{escape(name)}</text>'


def _mark(number: int) -> tuple[str, str]:
    return SHAPES[number // len(COLOURS) % len(SHAPES)], COLOURS[number % len(COLOURS)]
