"""The picture of a benchmark over time: rate, heat and clocks on one axis."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from toolkit.bench.report.charts import LEFT, RIGHT, series_of, svg
from toolkit.drawing.svg import Axis, rows, text, tip

Figures = Mapping[str, Any]
Series = tuple[str, str, list[tuple[float, float]]]  # colour, name, points


def decode_chart(figures: Figures) -> str:
    """Rate, temperature and clocks over the time of the repeats."""
    conditions = figures.get("conditions") or {}
    states, starts = conditions.get("states") or [], series_of(figures, "at_s")
    rates = [1 / s if s else None for s in series_of(figures, "decode_s")]
    if not rates or len(starts) != len(rates):
        rates, starts = [figures["decode_tokens_per_s"]], [0.0]
    # One axis for all panels: seconds since the first repeat or reading, whichever is earlier.
    zero = min([*starts, *(state["at_s"] for state in states)])
    times = [at - zero for at in starts]
    ends = [state["at_s"] - zero for state in states]
    x = Axis([*times, *ends], LEFT, RIGHT - 8, tight=True)
    hot = conditions.get("first_throttled_repeat")
    # A panel of rates first, then one of each kind of reading that the device gave.
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
    body.append(text(RIGHT, foot + 28, "seconds since the first reading", "end", "note"))
    return svg(foot + 34, body)


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
    # the background: throttled time, grid, title
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
    # a legend, if there is more than one line
    drawn = [s for s in series if s[2]]
    named = [s for s in drawn if s[1]] if len(drawn) > 1 else []
    for number, (colour, label, _) in enumerate(named):
        at = RIGHT - 70 * (len(named) - number - 1)
        yield f'<circle class="dot {colour}" cx="{at - 52}" cy="{top - 17}" r="3.5"/>'
        yield text(at - 44, top - 13, label, kind="note")
    # lines, with a dot for each value
    for colour, label, points in series:
        path = " ".join(f"{x.at(t):g},{y.at(v):g}" for t, v in points)
        yield f'<polyline class="line {colour}" points="{path}"/>'
        for number, (t, v) in enumerate(points if label != "limit" else ()):
            kind = "hollow" if hot is not None and number >= hot else "dot"
            yield (
                f'<circle class="{colour} {kind}" cx="{x.at(t):g}" cy="{y.at(v):g}" r="3.5">'
                f"{tip(f'{v:,.4g} at {t:.1f} s')}</circle>"
            )
