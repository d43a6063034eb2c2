"""`bench --report`: the figures of one device or several as one self-contained HTML file.

Its style, light and dark, and its SVG pictures are inline.
"""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from toolkit.bench.report.charts import (
    comparison_chart,
    device_name,
    memory_chart,
    phones_chart,
    prefill_chart,
)
from toolkit.bench.report.time_chart import decode_chart
from toolkit.drawing import pages
from toolkit.errors import PocketError
from toolkit.files import check_folder, write_text

Figures = Mapping[str, Any]
HOW = """
Each figure is the median of the repeats after a warm-up; ± is half of (slowest − fastest) ÷
median. Every dot is one repeat. A prefill feeds a prompt to an empty cache and ends with the first
new token; decoding follows the last prompt. Loading is measured with full program caches; a cold
load starts with empty ones. Temperature, clocks and battery are read before every repeat and after
the last one, while nothing runs: a clock may be lower then than under load. Throttled means that
the system reported it: a thermal status above the one at the start, or a lowered clock limit.
Repeats are hollow from the first in which that was seen; the medians include them."""


def check_report(path: Path) -> None:
    """Raise before minutes of measuring, not after them."""
    if path.suffix.lower() not in (".html", ".htm"):
        hint = f"pass --report {path.with_suffix('.html')}"
        raise PocketError(f"{path} cannot be written", "a report is an HTML file", hint)
    check_folder(path)


def write_report(path: Path, found: Sequence[Figures]) -> None:
    """Write the report of one device's figures, or of several."""
    check_report(path)
    write_text(path, "\n".join(page(found)) + "\n")


def page(found: Sequence[Figures]) -> Iterator[str]:
    """The lines of the file."""
    good = [figures for figures in found if "error" not in figures]
    about: Figures = next((f["about"] for f in good if "about" in f), {})
    title = f"{about.get('plan', 'A plan')} on {_device_names(found)}"
    yield from pages.page(title, _subtitle(about), _body(found, good))


def _body(found: Sequence[Figures], good: Sequence[Figures]) -> Iterator[str]:
    if len(found) > 1:
        yield pages.card("Devices side by side", phones_chart(good), wide=True)
    for figures in found:
        yield from _failed(figures) if "error" in figures else _device(figures)
    yield pages.how("How this was measured", HOW)
    yield from pages.raw(list(found))


def _device_names(found: Sequence[Figures]) -> str:
    names = [device_name(figures) for figures in found]
    return names[0] if len(names) == 1 else f"{len(names)} devices"


def _subtitle(about: Figures) -> str:
    words = [about.get("model", ""), about.get("date", ""), about.get("pocketcl", "")]
    return " · ".join(filter(None, map(str, words)))


def _device(figures: Figures) -> Iterator[str]:
    yield f"<section><h2>{escape(device_name(figures))}</h2>"
    yield f'<p class="sub">{escape(_facts(figures))}</p>'
    yield _banner(figures)
    yield f'<div class="tiles">{"".join(_tiles(figures))}</div>'
    yield '<div class="cards">'
    yield pages.card("Decoding, repeat by repeat", decode_chart(figures))
    yield pages.card("Prefill by length of the prompt", prefill_chart(figures))
    yield pages.card("Memory", memory_chart(figures))
    if figures.get("compare"):
        yield pages.card("Against rivals, in turn", comparison_chart(figures["compare"]))
    yield "</div>"
    yield f"<details><summary>All figures as a table</summary>{_table(figures)}</details></section>"


def _facts(figures: Figures) -> str:
    phone = figures.get("phone") or {}
    android = f"Android {phone['android']}" if phone.get("android") else ""
    profile = figures.get("about", {}).get("profile", "")
    gpu = figures["device"] if phone else ""
    driver = figures.get("about", {}).get("driver", "")
    words = [phone.get("soc", ""), gpu, f"driver {driver}" if driver else "", android]
    words += [f"compiled for {profile}" if profile else "", f"executor {figures['executor']}"]
    return " · ".join(str(word) for word in words if word)


def _banner(figures: Figures) -> str:
    found = figures.get("conditions") or {}
    reasons = "; ".join(found.get("reasons", []))
    if found.get("throttled"):
        return f'<p class="banner bad"><b>Throttled:</b> {escape(reasons)}.</p>'
    if reasons:
        why = "the device gives no reason: it may be heat, or other work on it"
        return f'<p class="banner odd"><b>Slowing:</b> {escape(reasons)}; {why}.</p>'
    if found.get("throttled") is False:
        return '<p class="banner good">No throttling: status and limits stayed as they were.</p>'
    text = "Whether it throttled is not known: the device reports neither heat nor clocks."
    return f'<p class="banner">{text}</p>'


def _tiles(figures: Figures) -> Iterator[str]:
    last = figures["prefill"][-1]
    spread = figures["spread"]
    yield _tile("decode", f"{figures['decode_tokens_per_s']:,.1f}", "tokens/s", spread["decode"])
    name = f"prefill of {last['tokens']}"
    yield _tile(name, f"{last['tokens_per_s']:,.0f}", "tokens/s", last["spread"])
    yield _tile("first token", *_seconds(last["seconds"]), last["spread"])
    yield _tile("load", *_seconds(figures["load"]["warm_s"]))
    if figures["load"].get("cold_s") is not None:
        yield _tile("cold load", *_seconds(figures["load"]["cold_s"]))
    if figures.get("peak_rss_bytes"):
        yield _tile("peak memory", f"{figures['peak_rss_bytes'] / 1e6:,.0f}", "MB")
    states = (figures.get("conditions") or {}).get("states") or [{}]
    heat = [state.get("skin_celsius") for state in (states[0], states[-1])]
    if None not in heat:
        yield _tile("temperature", f"{heat[0]:.0f} → {heat[1]:.0f}", "°C")
    levels = [(state.get("battery") or {}).get("level") for state in (states[0], states[-1])]
    if None not in levels:
        yield _tile("battery", f"{levels[0]} → {levels[1]}", "%")


def _tile(label: str, value: str, unit: str, spread: float | None = None) -> str:
    around = f" ± {spread / 2:.0%}" if spread is not None else ""
    return pages.tile(label, value, f"{unit}{around}")


def _seconds(value: float) -> tuple[str, str]:
    return (f"{value:,.2f}", "s") if value >= 1 else (f"{1e3 * value:,.1f}", "ms")


def _table(figures: Figures) -> str:
    rows = [
        (f"prefill of {row['tokens']}", f"{row['tokens_per_s']:,.1f} tokens/s", row["spread"])
        for row in figures["prefill"]
    ]
    decode = figures["decode"]
    name = f"decode after {decode['after']}"
    rows.append((name, f"{decode['tokens_per_s']:,.1f} tokens/s", decode["spread"]))
    plain = [
        ("launches per token", f"{figures['dispatches_per_token']:,}"),
        ("overhead per token on top of its kernels", _micro(figures.get("host_overhead_us"))),
        ("runner's time per token", _micro(figures.get("host_us_per_token"))),
        ("KV cache copied per token", f"{figures['kv_copy_bytes_per_token']:,} bytes"),
    ]
    plain += [(f"memory: {k}", f"{v / 1e6:,.1f} MB") for k, v in figures["memory"].items()]
    body = [(name, value, f"± {spread / 2:.0%}") for name, value, spread in rows]
    body += [(name, value, "") for name, value in plain]
    cells = (
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td><td>{around}</td></tr>"
        for name, value, around in body
    )
    return f"<table>{''.join(cells)}</table>"


def _micro(value: float | None) -> str:
    return "not known" if value is None else f"{value:,.1f} µs"


def _failed(figures: Figures) -> Iterator[str]:
    fault = figures["error"]
    words = ": ".join(filter(None, [str(fault["what"]), str(fault["because"])]))
    yield f"<section><h2>{escape(device_name(figures))}</h2>"
    yield f'<p class="banner bad"><b>Failed:</b> {escape(words)}</p></section>'
