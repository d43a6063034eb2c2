"""The pictures of `bench --report`: scales begin at zero, and every repeat is a dot."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.svg import Axis, rows, text, tip

Figures = Mapping[str, Any]
W = 420  # of every picture: on a phone's screen its words stay readable
LEFT, RIGHT = 58, 408


def prefill_chart(figures: Figures) -> str:
    """Tokens a second over lengths of prompts."""
    lengths = [row["tokens"] for row in figures["prefill"]]
    series = _series(figures, "prefill_s")
    rates = [[length / s for s in each] for length, each in zip(lengths, series, strict=False)] or [
        [row["tokens_per_s"]] for row in figures["prefill"]
    ]
    names = [f"{length:,}" for length in lengths]
    medians = [row["tokens_per_s"] for row in figures["prefill"]]
    return _columns(names, rates, medians, "tokens/s", "tokens in the prompt")


def phones_chart(found: Sequence[Figures]) -> str:
    """Decode rates of several devices, one row each."""
    from toolkit.bench_report import device_name

    rates = [[1 / s for s in _series(f, "decode_s") if s] for f in found]
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
    return _svg(bottom + 22, body)


def decode_chart(figures: Figures) -> str:
    """Rate, temperature and clocks over the time of the repeats."""
    conditions = figures.get("conditions") or {}
    states, starts = conditions.get("states") or [], _series(figures, "at_s")
    rates = [1 / s if s else None for s in _series(figures, "decode_s")]
    if not rates or len(starts) != len(rates):
        rates, starts = [figures["decode_tokens_per_s"]], [0.0]
    zero = min([*starts, *(state["at_s"] for state in states)])
    times = [at - zero for at in starts]
    ends = [state["at_s"] - zero for state in states]
    x = Axis([*times, *ends], LEFT, RIGHT - 8, tight=True)
    hot = conditions.get("first_throttled_repeat")
    points = [(t, r) for t, r in zip(times, rates, strict=True) if r is not None]
    panels = [("decode, tokens/s", [("one", "", points)], True)]
    panels += [panel for panel in _state_panels(states, ends) if any(s[2] for s in panel[1])]
    body: list[str] = []
    top = 26
    for number, (name, series, zeroed) in enumerate(panels):
        height = 130 if number == 0 else 70
        shade = ends[hot] if hot is not None and hot < len(ends) else None
        body += _panel(x, top, height, name, series, zeroed, hot if number == 0 else None, shade)
        top += height + 40
    foot = top - 40
    for value in x.ticks():
        body.append(text(x.at(value), foot + 14, f"{value:,g}", "middle", "tick"))
    body.append(text(RIGHT, foot + 28, "seconds since the first look", "end", "note"))
    return _svg(foot + 34, body)


def memory_chart(figures: Figures) -> str:
    """What a loaded plan holds, and the most that its process took."""
    kinds = {"weights": "one", "states": "two", "buffers": "three", "arena": "four"}
    names = {"weights": "weights", "states": "KV cache", "buffers": "buffers", "arena": "scratch"}
    parts = {name: figures["memory"].get(name, 0) / 1e6 for name in kinds}
    peak = (figures.get("peak_rss_bytes") or 0) / 1e6
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
    body.append(text(RIGHT, y + 118, "MB", "end", "note"))
    for number, (name, value) in enumerate(parts.items()):
        x, line = left + 200 * (number % 2), y + 140 + 20 * (number // 2)
        body.append(
            f'<rect class="bar {kinds[name]}" x="{x}" y="{line - 10}" width="12" height="12"/>'
        )
        body.append(text(x + 18, line, f"{names[name]} {value:,.1f} MB"))
    return _svg(y + 170, body)


def comparison_chart(found: Sequence[Figures]) -> str:
    """How many times a rival's rate ours was, in neighbouring pairs."""
    lines = [
        (rival["rival"], name, row)
        for rival in found
        for name, row in [
            *((f"prefill of {row['tokens']:,}", row) for row in rival["prefill"]),
            ("decode", rival["decode"]),
        ]
    ]
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
    for number, (rival, name, row) in enumerate(lines):
        y = top + step * number
        ours, theirs = row["ours"]["tokens_per_s"], row["rival"]["tokens_per_s"]
        words = f"{name}: {ours:,.1f} tokens/s, {rival[:24]} {theirs:,.1f}"
        body.append(text(left, y + 10, words))
        body += _row_of_dots(axis, y + 24, row["ratios"], row["ratio"])
    return _svg(bottom + 22, body)


def _series(figures: Figures, name: str) -> list[Any]:
    return list((figures.get("series") or {}).get(name) or [])


Series = tuple[str, str, list[tuple[float, float]]]  # colour, name, points


def _state_panels(
    states: Sequence[Figures], ends: Sequence[float]
) -> Iterator[tuple[str, list[Series], bool]]:
    def points(values: Sequence[float | None]) -> list[tuple[float, float]]:
        return [(t, v) for t, v in zip(ends, values, strict=True) if v is not None]

    skin = points([state.get("skin_celsius") for state in states])
    cell = points([(state.get("battery") or {}).get("celsius") for state in states])
    heat: list[Series] = [("two", "skin", skin)]
    heat += [("four", "battery", cell)] if cell != skin else []
    yield "temperature, °C", heat, False
    gpu = points([state.get("gpu_mhz") for state in states])
    limit = points([state.get("gpu_limit_mhz") for state in states])
    yield "GPU clock, MHz", [("four", "limit", limit), ("three", "now", gpu)], True
    big = [max((c["mhz"] or 0 for c in state.get("clusters") or ()), default=0) for state in states]
    yield "fastest core, MHz", [("three", "", points([mhz or None for mhz in big]))], True


def _panel(
    x: Axis,
    top: int,
    height: int,
    name: str,
    series: Sequence[Series],
    zero: bool,
    hot: int | None,
    shade: float | None,
) -> Iterator[str]:
    bottom = top + height
    values = [value for _, _, points in series for _, value in points]
    y = Axis(values, bottom, top, zero=zero, steps=4 if height > 100 else 2)
    if shade is not None:
        start = x.at(shade)
        yield (
            f'<rect class="hot" x="{start:g}" y="{top}" width="{max(RIGHT - start, 2):g}"'
            f' height="{height}"/>'
        )
    yield from rows((LEFT, RIGHT), y)
    yield text(LEFT - 46, top - 13, name, kind="note")
    if hot is not None:
        yield text(RIGHT, top - 13, "throttled where shaded", "end", "hotword")
    named = [s for s in series if s[1] and s[2]] if len([s for s in series if s[2]]) > 1 else []
    for number, (colour, label, _) in enumerate(named):
        at = RIGHT - 70 * (len(named) - number - 1)
        yield f'<circle class="dot {colour}" cx="{at - 52}" cy="{top - 17}" r="3.5"/>'
        yield text(at - 44, top - 13, label, kind="note")
    for colour, label, points in series:
        path = " ".join(f"{x.at(t):g},{y.at(v):g}" for t, v in points)
        yield f'<polyline class="line {colour}" points="{path}"/>'
        for number, (t, v) in enumerate(points if label != "limit" else ()):
            kind = "hollow" if hot is not None and number >= hot else "dot"
            yield (
                f'<circle class="{colour} {kind}" cx="{x.at(t):g}" cy="{y.at(v):g}" r="3.5">'
                f"{tip(f'{v:,.4g} at {t:.1f} s')}</circle>"
            )


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
        shift = min(width / 4, 40) / max(len(values[number]) - 1, 1)
        for place, value in enumerate(values[number]):
            at = middle + (place - (len(values[number]) - 1) / 2) * shift
            body.append(
                f'<circle class="one dot" cx="{at:.1f}" cy="{y.at(value):g}" r="3.5">'
                f"{tip(f'repeat {place + 1}: {value:,.1f} {unit}')}</circle>"
            )
        level = y.at(medians[number])
        body.append(f'<path class="one mid" d="M{middle - 26:.1f} {level:g}H{middle + 26:.1f}"/>')
        body.append(text(middle + 30, level + 4, f"{medians[number]:,.0f}"))
    body.append(text(RIGHT, bottom + 34, what, "end", "note"))
    return _svg(bottom + 40, body)


def _row_of_dots(axis: Axis, y: float, values: Sequence[float], middle: float) -> Iterator[str]:
    if values:
        yield f'<path class="one line" d="M{axis.at(min(values)):g} {y}H{axis.at(max(values)):g}"/>'
    for place, value in enumerate(values):
        yield (
            f'<circle class="one dot" cx="{axis.at(value):g}" cy="{y}" r="3.5">'
            f"{tip(f'repeat {place + 1}: {value:,.4g}')}</circle>"
        )
    yield f'<path class="one mid" d="M{axis.at(middle):g} {y - 8}V{y + 8}"/>'
    words = f"{middle:,.4g}"
    x = max([axis.at(middle), *(axis.at(v) for v in values)]) + 8
    yield text(x, y + 4, words) if x < RIGHT - 40 else text(RIGHT, y - 10, words, "end")


def _svg(height: float, body: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {W} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">'
        + "".join(body)
        + "</svg>"
    )
