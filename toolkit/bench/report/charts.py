"""The pictures of `bench --report`: scales begin at zero, and every repeat is a dot."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.drawing.svg import Axis, rows, text, tip

Figures = Mapping[str, Any]
W = 420  # of every picture: its text stays readable on a phone's screen
LEFT, RIGHT = 58, 408


def prefill_chart(figures: Figures) -> str:
    """Tokens a second over lengths of prompts."""
    lengths = [row["tokens"] for row in figures["prefill"]]
    series = series_of(figures, "prefill_s")
    rates = [[length / s for s in each] for length, each in zip(lengths, series, strict=False)] or [
        [row["tokens_per_s"]] for row in figures["prefill"]
    ]
    names = [f"{length:,}" for length in lengths]
    medians = [row["tokens_per_s"] for row in figures["prefill"]]
    return _columns(names, rates, medians, "tokens/s", "tokens in the prompt")


def phones_chart(found: Sequence[Figures]) -> str:
    """Decode rates of several devices, one row each."""
    rates = [[1 / s for s in series_of(f, "decode_s") if s] for f in found]
    medians = [float(f["decode_tokens_per_s"]) for f in found]
    top, step = 28, 44
    bottom = top + step * len(found)
    axis = Axis([*medians, *(r for each in rates for r in each)], LEFT - 46, RIGHT)
    body = [text(LEFT - 46, 14, "decode, tokens/s", kind="note")]
    for value in axis.ticks():
        x = axis.at(value)
        body.append(f'<path class="grid" d="M{x:g} {top - 6}V{bottom}"/>')
        body.append(text(x, bottom + 14, f"{value:,g}", "middle", "tick"))
    for number, figures in enumerate(found):
        y = top + step * number
        hot = (figures.get("conditions") or {}).get("throttled")
        name = device_name(figures)[:40] + (" (throttled)" if hot else "")
        body.append(text(LEFT - 46, y + 8, name))
        body += _row_of_dots(axis, y + 22, rates[number], medians[number])
    return svg(bottom + 22, body)


def device_name(figures: Figures) -> str:
    """A phone's model, else the OpenCL device."""
    phone = figures.get("phone") or {}
    return str(phone.get("model") or figures.get("device") or "a device")


def memory_chart(figures: Figures) -> str:
    """The memory of a loaded plan by kind, and the peak of its process."""
    kinds = {"weights": "one", "states": "two", "buffers": "three", "arena": "four"}
    kinds |= {"records": "five"} if "slots" in figures["memory"] else {}
    names = {"weights": "weights", "states": "KV cache", "buffers": "buffers", "arena": "scratch"}
    names |= {"records": "records"}
    of_tables = ("slots", "staging", "tickets")
    held = figures["memory"] | {
        "records": sum(figures["memory"].get(name, 0) for name in of_tables)
    }
    parts = {name: held.get(name, 0) / 1e6 for name in kinds}
    peak = (figures.get("peak_rss_bytes") or 0) / 1e6
    # the plan's memory as one bar of all kinds
    left, y = LEFT - 46, 30
    axis = Axis([sum(parts.values()), peak], left, RIGHT - 12)
    body, at = [text(left, y - 12, f"the plan: {sum(parts.values()):,.1f} MB", kind="note")], 0.0
    for value in axis.ticks():
        x = axis.at(value)
        body.append(f'<path class="grid" d="M{x:g} {y - 6}V{y + 88}"/>')
        body.append(text(x, y + 102, f"{value:,g}", "middle", "tick"))
    for name, value in parts.items():
        x, end = axis.at(at), axis.at(at + value)
        body.append(
            f'<rect class="bar {kinds[name]}" x="{x:g}" y="{y}" width="{max(end - x, 0.5):g}"'
            f' height="26">{tip(f"{names[name]}: {value:,.1f} MB")}</rect>'
        )
        at += value
    # the peak of the process as a second bar
    if peak:
        body.append(
            text(
                left,
                y + 50,
                f"the process at its peak (resident): {peak:,.1f} MB",
                kind="note",
            )
        )
        body.append(
            f'<rect class="bar one" fill-opacity=".35" x="{left}" y="{y + 58}"'
            f' width="{axis.at(peak) - left:g}" height="26"/>'
        )
    # the legend, in two columns
    body.append(text(RIGHT, y + 118, "MB", "end", "note"))
    for number, (name, value) in enumerate(parts.items()):
        x, line = left + 200 * (number % 2), y + 140 + 20 * (number // 2)
        body.append(
            f'<rect class="bar {kinds[name]}" x="{x}" y="{line - 10}" width="12" height="12"/>'
        )
        body.append(text(x + 18, line, f"{names[name]} {value:,.1f} MB"))
    return svg(y + 170, body)


def comparison_chart(found: Sequence[Figures]) -> str:
    """Our rate over a rival's, of each pair of neighbouring trials."""
    lines = [
        (rival["rival"], name, row)
        for rival in found
        for name, row in [
            *((f"prefill of {row['tokens']:,}", row) for row in rival["prefill"]),
            ("decode", rival["decode"]),
        ]
    ]
    # the axis of ratios, with a line at 1
    top, step, left = 24, 46, LEFT - 46
    bottom = top + step * len(lines)
    ratios = [ratio for _, _, row in lines for ratio in row["ratios"]]
    axis = Axis([*ratios, 1.0], left, RIGHT - 8)
    body: list[str] = []
    for value in axis.ticks():
        x = axis.at(value)
        body.append(f'<path class="grid" d="M{x:g} {top - 8}V{bottom}"/>')
        body.append(text(x, bottom + 14, f"{value:g} ×", "middle", "tick"))
    body.append(f'<path class="axis" d="M{axis.at(1):g} {top - 8}V{bottom}"/>')
    body.append(text(axis.at(1), top - 12, "as fast", "middle", "note"))
    # a row for each rival and figure
    for number, (rival, name, row) in enumerate(lines):
        y = top + step * number
        ours, theirs = row["ours"]["tokens_per_s"], row["rival"]["tokens_per_s"]
        words = f"{name}: {ours:,.1f} tokens/s, {rival[:24]} {theirs:,.1f}"
        body.append(text(left, y + 10, words))
        body += _row_of_dots(axis, y + 24, row["ratios"], row["ratio"])
    return svg(bottom + 22, body)


def series_of(figures: Figures, name: str) -> list[Any]:
    """A figure of each repeat; empty where the figures don't have it."""
    return list((figures.get("series") or {}).get(name) or [])


def _columns(
    names: Sequence[str],
    values: Sequence[Sequence[float]],
    medians: Sequence[float],
    unit: str,
    what: str,
) -> str:
    top, bottom = 30, 220
    y = Axis([*medians, *(v for each in values for v in each)], bottom, top)
    width = (RIGHT - LEFT) / len(names)
    body = [text(LEFT - 46, top - 14, unit, kind="note"), *rows((LEFT, RIGHT), y)]
    for number, name in enumerate(names):
        middle = LEFT + width * (number + 0.5)
        body.append(text(middle, bottom + 16, name, "middle"))
        spacing = min(width / 4, 40) / max(len(values[number]) - 1, 1)
        for repeat, value in enumerate(values[number]):
            at = middle + (repeat - (len(values[number]) - 1) / 2) * spacing
            body.append(
                f'<circle class="one dot" cx="{at:.1f}" cy="{y.at(value):g}" r="3.5">'
                f"{tip(f'repeat {repeat + 1}: {value:,.1f} {unit}')}</circle>"
            )
        level = y.at(medians[number])
        body.append(f'<path class="one mid" d="M{middle - 26:.1f} {level:g}H{middle + 26:.1f}"/>')
        body.append(text(middle + 30, level + 4, f"{medians[number]:,.0f}"))
    body.append(text(RIGHT, bottom + 34, what, "end", "note"))
    return svg(bottom + 40, body)


def _row_of_dots(axis: Axis, y: float, values: Sequence[float], middle: float) -> Iterator[str]:
    if values:
        yield f'<path class="one line" d="M{axis.at(min(values)):g} {y}H{axis.at(max(values)):g}"/>'
    for repeat, value in enumerate(values):
        yield (
            f'<circle class="one dot" cx="{axis.at(value):g}" cy="{y}" r="3.5">'
            f"{tip(f'repeat {repeat + 1}: {value:,.4g}')}</circle>"
        )
    yield f'<path class="one mid" d="M{axis.at(middle):g} {y - 8}V{y + 8}"/>'
    words = f"{middle:,.4g}"
    x = max([axis.at(middle), *(axis.at(v) for v in values)]) + 8
    yield text(x, y + 4, words) if x < RIGHT - 40 else text(RIGHT, y - 10, words, "end")


def svg(height: float, body: Sequence[str]) -> str:
    """The element around a picture."""
    return (
        f'<svg viewBox="0 0 {W} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">'
        + "".join(body)
        + "</svg>"
    )
