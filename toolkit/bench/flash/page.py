"""A page of a curve over memory: two pictures, and the figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from toolkit.drawing.pages import card, how, page, raw
from toolkit.drawing.svg import Axis, rows, text
from toolkit.errors import PocketError
from toolkit.files import check_folder
from toolkit.tables import size

W, LEFT, RIGHT, TOP, BOTTOM = 420, 58, 400, 30, 200
Row = Mapping[str, Any]
PICTURES = (
    ("Decode rate by memory", "decode_tokens_per_s", "tokens/s", 1.0),
    ("Read of flash for a token, by memory", "flash_bytes_per_token", "MB", 1e6),
)


def write_curve(path: Path, figures: Mapping[str, Any]) -> None:
    """Write the page; raises PocketError where no budget has figures, or it can't be written."""
    found = [row for row in figures["rows"] if "error" not in row]
    if not found:
        because = "; ".join(row["error"]["what"] for row in figures["rows"])
        raise PocketError(f"{path} has nothing to show", because, "other budgets: --memory A,B")
    check_folder(path)
    flash = f"imitated: {figures['flash']}" if figures["imitated"] else "as it is"
    subtitle = f"{figures['device']}, {figures['executor']}; flash {flash}"
    body = [card(name, curve_svg(found, key, unit, by)) for name, key, unit, by in PICTURES]
    body.append(how("How it was measured", _words(figures)))
    lines = page("Memory and speed", subtitle, [*body, *raw(figures)])
    path.write_text("\n".join(lines), encoding="utf-8")


def curve_svg(found: Sequence[Row], key: str, unit: str, scale: float) -> str:
    """A value over the memory of each row, as an element."""
    x = Axis([row["flash"]["memory"] / 1e6 for row in found], LEFT, RIGHT, zero=False)
    y = Axis([row[key] / scale for row in found], BOTTOM, TOP)
    places = [(x.at(row["flash"]["memory"] / 1e6), y.at(row[key] / scale)) for row in found]
    line = " ".join(f"{a:g},{b:g}" for a, b in places)
    body = [text(LEFT - 46, TOP - 14, unit, kind="note"), *rows((LEFT, RIGHT), y)]
    body.append(f'<polyline class="one line" points="{line}"/>')
    for value in x.ticks():
        body.append(text(x.at(value), BOTTOM + 16, f"{value:,.10g}", "middle", "tick"))
    body.append(text(RIGHT, BOTTOM + 32, "MB of memory", "end", "note"))
    for (a, b), row in zip(places, found, strict=True):
        body.append(f'<circle class="one dot" cx="{a:g}" cy="{b:g}" r="3.5"/>')
        body.append(text(a + 5, b - 8, _short(row[key] / scale)))
    space, box = 'xmlns="http://www.w3.org/2000/svg"', f'viewBox="0 0 {W + 40} {BOTTOM + 38}"'
    return f'<svg {space} {box} role="img">{"".join(body)}</svg>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"


def _words(figures: Mapping[str, Any]) -> str:
    tokens, repeats = figures["new_tokens"], figures["repeats"]
    words = f"Medians of {repeats} repeats of {tokens} tokens each, one budget after the other. "
    if figures["ids_equal"]:
        words += "Every budget gave the same ids. "
    errors = [(row["asked"], row["error"]["what"]) for row in figures["rows"] if "error" in row]
    failed = [f"{asked}: {what}." for asked, what in errors]
    if figures["imitated"]:
        words += f"No such flash is at hand: reads were timed as {figures['flash']}'s would be. "
    most = max(row["peak_rss_bytes"] or 0 for row in figures["rows"] if "error" not in row)
    return words + f"The process took {size(most)} at most. " + " ".join(failed)
