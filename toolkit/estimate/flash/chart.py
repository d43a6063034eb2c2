"""The picture of memory -> tokens a second, of plans with weights in flash."""

from typing import Any

from toolkit.drawing.svg import Axis, rows, text, tip
from toolkit.estimate.frame import BOTTOM, LEFT, RIGHT, TOP, Chart, Figures, short
from toolkit.tables import rate, size

APART = 34  # of labels, at least


def drawn(figures: Figures) -> list[dict[str, Any]]:
    """The points that have a place: those that are predicted."""
    return [row for row in figures.get("points", ()) if "error" not in row]


def point_chart(figures: Figures) -> Chart:
    """Tokens a second over memory; without tables, where all of it lies in memory: hollow."""
    found = drawn(figures)
    unit, scale = ("GB", 1e9) if found[-1]["memory"] >= 1e9 else ("MB", 1e6)
    memory = [row["memory"] / scale for row in found]
    x = Axis(memory, LEFT + 10, RIGHT - 20, zero=False)
    y = Axis([row["predicted_tokens_per_s"] for row in found], BOTTOM, TOP)
    body = [text(LEFT - 46, TOP - 14, "tokens/s", kind="note"), *rows((LEFT, RIGHT), y)]
    for value in x.ticks():
        body.append(text(x.at(value), BOTTOM + 16, f"{value:,.10g}", "middle", "tick"))
    body.append(text(RIGHT, BOTTOM + 32, f"{unit} of memory", "end", "note"))
    places = [
        (x.at(at), y.at(row["predicted_tokens_per_s"]), row)
        for at, row in zip(memory, found, strict=True)
    ]
    path = " ".join(f"{a:g},{b:g}" for a, b, row in places if row["policy"] is not None)
    body.append(f'<polyline class="one line" points="{path}"/>')
    free = float("-inf")
    for a, b, row in places:
        kind = "hollow" if row["policy"] is None else "dot"
        mark = f'<circle class="one {kind}" cx="{a:g}" cy="{b:g}" r="3.5">'
        body.append(f"{mark}{_tip(row)}</circle>")
        if a >= free:
            body.append(text(a, b - 8, short(row["predicted_tokens_per_s"]), "middle"))
            free = a + APART
    profile = figures["flash"]["profile"]
    return Chart(f"Predicted decode rate by memory, flash {profile}", BOTTOM + 38, body)


def _tip(row: dict[str, Any]) -> str:
    read, predicted = size(row["flash_bytes_per_token"]), rate(row["predicted_tokens_per_s"])
    return tip(f"{size(row['memory'])}: {predicted} tokens/s, {read} read")
