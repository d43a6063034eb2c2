"""The pictures of a simulation: perplexity over what is read, rate over memory, hits by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.drawing.svg import Axis, rows, text, tip
from toolkit.simulation.sparse.fronts import best_of, compiled, front, within
from toolkit.tables import rate, size

Row = Mapping[str, Any]
W, LEFT, RIGHT, TOP, BOTTOM = 520, 58, 500, 34, 270
NAMES = {  # of selectors: colour, in words
    "all": ("five", "all, streamed"),
    "dip": ("one", "DIP"),
    "dip-ca": ("two", "DIP-CA"),
    "uniform": ("three", "DIP, uniform"),
    "cats": ("four", "CATS"),
    "glu": ("eight", "only down"),
    "lowrank": ("six", "DejaVu's predictor"),
    "static": ("seven", "static mask"),
}
SEEN = 1.5  # times the least perplexity: what is above would hide the others


def perplexity_chart(found: Sequence[Row]) -> str:
    """A point for each case with one share of memory; a line through those nothing beats."""
    least = min(row["perplexity"] for row in found)
    drawn = [row for row in found if row["perplexity"] <= SEEN * least]
    scale, unit = _scale(max(row["flash_bytes_per_token"] for row in drawn))
    x = Axis([row["flash_bytes_per_token"] / scale for row in drawn], LEFT, RIGHT)
    y = Axis([row["perplexity"] for row in drawn], BOTTOM, TOP, zero=False)

    def place(row: Row) -> tuple[float, float]:
        return x.at(row["flash_bytes_per_token"] / scale), y.at(row["perplexity"])

    body = [*_axes(x, y, "perplexity", f"{unit} read from flash a token")]
    body.append(_line("front", [place(row) for row in front(compiled(drawn))]))
    body += [_mark(row, *place(row)) for row in drawn]
    hidden = len(found) - len(drawn)
    if hidden:
        body.append(
            text(RIGHT, TOP - 14, f"{hidden} above {y.high:g} are not drawn", "end", "note")
        )
    legend, height = _legend([row["sparsity"] for row in drawn], BOTTOM + 52)
    return _svg([*body, *legend], height)


def memory_chart(found: Sequence[Row]) -> str:
    """Rates over memory: of all that is streamed, and of the fastest that costs little."""
    shares = sorted({row["memory"] for row in found})
    whole = [row for row in found if row["sparsity"] == "all"]
    best = [row for share in shares if (row := best_of(within(found, share))) is not None]
    x = Axis([100 * share for share in shares], LEFT, RIGHT)
    y = Axis([row["tokens_per_s"] for row in (*whole, *best)], BOTTOM, TOP)

    def place(row: Row) -> tuple[float, float]:
        return x.at(100 * row["memory"]), y.at(row["tokens_per_s"])

    body = [*_axes(x, y, "tokens/s, simulated", "% of networks in memory")]
    for rows_ in (sorted(whole, key=lambda row: row["memory"]), best):
        body.append(_line("line one", [place(row) for row in rows_]))
        body += [_mark(row, *place(row)) for row in rows_]
    legend, height = _legend([row["sparsity"] for row in (*whole, *best)], BOTTOM + 52)
    return _svg([*body, *legend], height)


def hits_chart(row: Row) -> str:
    """What each layer's tables find in memory, of one case."""
    hits: Mapping[str, Sequence[float]] = row["hits_by_layer"]
    count = max(map(len, hits.values()))
    x = Axis([0, max(1, count - 1)], LEFT + 8, RIGHT, tight=True)
    y = Axis([0, 100], BOTTOM, TOP, tight=True)
    body = [*_axes(x, y, "% found in memory", "layer")]
    for colour, (name, shares) in zip(("one", "two", "three"), hits.items(), strict=False):
        places = [(x.at(layer), y.at(100 * share)) for layer, share in enumerate(shares)]
        body.append(_line(f"line {colour}", places))
        for (a, b), share in zip(places, shares, strict=True):
            about = tip(f"{name}: {100 * share:.1f} %")
            body.append(
                f'<circle class="{colour} dot" cx="{a:g}" cy="{b:g}" r="3.5">{about}</circle>'
            )
    names = dict(zip(("one", "two", "three"), hits, strict=False))
    legend, height = _entries(names, BOTTOM + 52)
    return _svg([*body, *legend], height)


def _mark(row: Row, x: float, y: float) -> str:
    colour = NAMES[row["sparsity"]][0]
    odd = row["refit"] or row["layers"] or row["policy"] != "static"
    kind = "hollow" if odd else "dot"
    return (
        f'<circle class="{colour} {kind}" cx="{x:g}" cy="{y:g}" r="4">{tip(_about(row))}</circle>'
    )


def _about(row: Row) -> str:
    words = NAMES[row["sparsity"]][1]
    if row["sparsity"] != "all":
        words += f", density {row['density']:g}, gamma {row['gamma']:g}, {row['policy']}"
        words += ", refitted" * row["refit"] + ", by layer" * bool(row["layers"])
    read = size(round(row["flash_bytes_per_token"]))
    return f"{words}: {row['perplexity']:.3f}, {read} read, {rate(row['tokens_per_s'])} tokens/s"


def _axes(x: Axis, y: Axis, up: str, along: str) -> Iterator[str]:
    yield text(LEFT - 46, TOP - 14, up, kind="note")
    yield from rows((LEFT, RIGHT), y)
    for value in x.ticks():
        yield text(x.at(value), BOTTOM + 16, f"{value:,.10g}", "middle", "tick")
    yield text(RIGHT, BOTTOM + 32, along, "end", "note")


def _line(kind: str, places: Sequence[tuple[float, float]]) -> str:
    points = " ".join(f"{a:g},{b:g}" for a, b in places)
    return f'<polyline class="{kind}" points="{points}"/>'


def _legend(selectors: Sequence[str], y: float) -> tuple[list[str], float]:
    named = [NAMES[each] for each in NAMES if each in selectors]
    return _entries(dict(named), y)


def _entries(names: Mapping[str, str], y: float) -> tuple[list[str], float]:
    """Three beside each other; and how high the picture is with them."""
    found = list[str]()
    for number, (colour, words) in enumerate(names.items()):
        a, b = LEFT + 150 * (number % 3), y + 18 * (number // 3)
        found.append(f'<circle class="{colour} dot" cx="{a + 5}" cy="{b - 4:g}" r="4"/>')
        found.append(text(a + 16, b, words))
    return found, y + 18 * ((len(names) - 1) // 3) + 12


def _svg(body: Sequence[str], height: float) -> str:
    space = 'xmlns="http://www.w3.org/2000/svg"'
    return f'<svg {space} viewBox="0 0 {W} {height:g}" role="img">{"".join(body)}</svg>'


def _scale(most: float) -> tuple[float, str]:
    return next(
        ((s, unit) for s, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if most >= s), (1, "B")
    )
