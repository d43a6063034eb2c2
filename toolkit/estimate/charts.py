"""The pictures of an estimate: rates and memory over contexts, and what the time goes into."""

from collections.abc import Iterator, Mapping, Sequence

from toolkit.drawing.svg import Axis, rows, text, tip
from toolkit.estimate.flash.chart import drawn, point_chart
from toolkit.estimate.frame import BOTTOM, LEFT, MARGIN, RIGHT, TOP, Chart, Figures, W, short
from toolkit.estimate.report import title
from toolkit.tables import seconds, size

COLOURS = ("one", "two", "three", "four", "five")
PARTS = {"weights": "weights", "kv": "KV cache", "arena": "scratch", "buffers": "buffers"}
OF_TABLES = {"records": "records"}  # where there are some
# The same names as in the style of pages, for a picture that stands alone.
STYLE = """
svg { font: 12px system-ui, sans-serif; } text { fill: #1d2129; }
.title { font-size: 17px; font-weight: 600; } .head { font-size: 13px; font-weight: 600; }
.tick, .note { fill: #5b6472; font-size: 11px; } .grid { stroke: #dfe3e8; fill: none; }
.axis { stroke: #b3261e; fill: none; stroke-dasharray: 5 3; } .hotword { fill: #b3261e; }
.one { fill: #2f5fd0; stroke: #2f5fd0; } .two { fill: #c2571a; stroke: #c2571a; }
.three { fill: #1f8a4c; stroke: #1f8a4c; } .four { fill: #8452c9; stroke: #8452c9; }
.five { fill: #8a5a00; stroke: #8a5a00; }
.hollow { fill: #fff; } .line { fill: none; stroke-width: 2; } .bar, .dot { stroke-width: 0; }
"""


def charts(figures: Figures) -> list[Chart]:
    """All pictures of an estimate."""
    flash = [point_chart(figures)] if len(drawn(figures)) > 1 else []
    return [
        *flash,
        rate_chart(figures, "decode_tokens_per_s", "Predicted decode rate by context"),
        rate_chart(figures, "prefill_tokens_per_s", "Predicted prefill rate by length of prompt"),
        memory_chart(figures),
        split_chart(figures),
    ]


def sheet(figures: Figures) -> str:
    """All pictures on one sheet, two beside each other, as an SVG file."""
    found, y = charts(figures), 64.0
    body = [
        f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        text(MARGIN, 30, title(figures), kind="title"),
        text(MARGIN, 50, "predicted, not measured", kind="note"),
    ]
    for pair in (found[at : at + 2] for at in range(0, len(found), 2)):
        for number, chart in enumerate(pair):
            body.append(f'<g transform="translate({MARGIN + number * (W + MARGIN)} {y + 22:g})">')
            body += [text(12, -8, chart.title, kind="head"), *chart.body, "</g>"]
        y += max(chart.height for chart in pair) + 40
    width = 2 * W + 3 * MARGIN
    size_of = f'width="{width}" height="{y:g}" viewBox="0 0 {width} {y:g}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size_of}>\n' + "\n".join(body) + "\n</svg>\n"


def rate_chart(figures: Figures, key: str, name: str) -> Chart:
    """Tokens a second over contexts; contexts that do not fit are hollow."""
    found = figures["contexts"]
    y = Axis([row[key] for row in found], BOTTOM, TOP)
    points = [(x, y.at(row[key])) for x, row in zip(_places(len(found)), found, strict=True)]
    body = [text(LEFT - 46, TOP - 14, "tokens/s", kind="note"), *rows((LEFT, RIGHT), y)]
    path = " ".join(f"{x:.1f},{at:g}" for x, at in points)
    body.append(f'<polyline class="one line" points="{path}"/>')
    for (x, at), row in zip(points, found, strict=True):
        kind = "hollow" if row["fits"] is False else "dot"
        body.append(f'<circle class="one {kind}" cx="{x:.1f}" cy="{at:g}" r="3.5"/>')
        body.append(text(x + 5, at - 8, short(row[key])))
        body.append(text(x, BOTTOM + 16, tokens(row["context"]), "middle", "tick"))
    body.append(text(RIGHT, BOTTOM + 32, "tokens", "end", "note"))
    return Chart(name, BOTTOM + 38, body)


def memory_chart(figures: Figures) -> Chart:
    """Memory by kind over contexts, under what the device gives; what does not fit is pale."""
    found, limit = figures["contexts"], figures["room"]["memory"]
    totals = [row["memory"]["total"] / 1e9 for row in found]
    near = [limit / 1e9] if limit is not None and limit < 4e9 * max(totals) else []
    y = Axis([*totals, *near], BOTTOM, TOP)
    body = [text(LEFT - 46, TOP - 14, "GB", kind="note"), *rows((LEFT, RIGHT), y)]
    wide = min(36.0, (RIGHT - LEFT) / len(found) - 8)
    for x, row in zip(_places(len(found)), found, strict=True):
        opacity = 0.4 if row["fits"] is False else 1
        bars = "".join(_stack(row["memory"], x - wide / 2, wide, y))
        body.append(f'<g opacity="{opacity}">{bars}</g>')
        body.append(text(x, BOTTOM + 16, tokens(row["context"]), "middle", "tick"))
    for value in near:
        body.append(f'<path class="axis" d="M{LEFT} {y.at(value):g}H{RIGHT}"/>')
        words = f"{size(limit)}: {figures['room']['source']}"
        body.append(text(LEFT + 4, y.at(value) - 5, words, kind="note hotword"))
    body += _legend(list(_parts(found[0]["memory"]).values()), BOTTOM + 38)
    return Chart("Predicted memory by context", BOTTOM + 66, body)


def split_chart(figures: Figures) -> Chart:
    """What a prefill and a decode step go into: three families, and the rest."""
    found = figures["families"]
    body: list[str] = []
    for number, (key, name) in enumerate(
        (("prefill_s", f"prefill of {figures['prompt_tokens']}"), ("decode_s", "one decode step"))
    ):
        y, whole = TOP + 88 * number, sum(row[key] for row in found)
        body.append(text(12, y - 10, f"{name}: {seconds(whole)}"))
        most = sorted(found, key=lambda row: -row[key])[:3]
        parts = [(row["family"], row[key]) for row in most]
        parts.append(("others", whole - sum(value for _, value in parts)))
        body += _bar(parts, whole, y)
    return Chart("Predicted split of the time", TOP + 160, body)


def tokens(count: int) -> str:
    """A context for people: 32k."""
    return f"{count >> 10}k" if count % 1024 == 0 else f"{count:,}"


def _places(count: int) -> list[float]:
    width = (RIGHT - LEFT) / count
    return [LEFT + width * (number + 0.5) for number in range(count)]


def _stack(memory: Mapping[str, int], x: float, wide: float, y: Axis) -> Iterator[str]:
    below = 0.0
    for colour, (part, name) in zip(COLOURS, _parts(memory).items(), strict=False):
        value = memory[part] / 1e9
        top, foot = y.at(below + value), y.at(below)
        yield (
            f'<rect class="bar {colour}" x="{x:.1f}" y="{top:g}" width="{wide:g}"'
            f' height="{foot - top:g}">{tip(f"{name}: {size(memory[part])}")}</rect>'
        )
        below += value
    yield text(x + wide / 2, y.at(below) - 5, f"{below:.1f}", "middle")


def _parts(memory: Mapping[str, int]) -> dict[str, str]:
    return PARTS | (OF_TABLES if memory["records"] else {})


def _bar(parts: Sequence[tuple[str, float]], whole: float, y: float) -> Iterator[str]:
    x = 12.0
    for number, (colour, (name, value)) in enumerate(zip(COLOURS, parts, strict=False)):
        wide = (RIGHT - 12) * value / whole
        yield f'<rect class="bar {colour}" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="24"/>'
        column, line = 12 + 204 * (number % 2), y + 40 + 16 * (number // 2)
        yield f'<rect class="bar {colour}" x="{column}" y="{line - 9}" width="10" height="10"/>'
        yield text(column + 16, line, f"{name} {value / whole:.0%}")
        x += wide


def _legend(names: Sequence[str], y: float) -> Iterator[str]:
    for number, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
        x = LEFT + (90 if len(names) < 5 else 72) * number
        yield f'<rect class="bar {colour}" x="{x}" y="{y - 9}" width="10" height="10"/>'
        yield text(x + 16, y, name)
