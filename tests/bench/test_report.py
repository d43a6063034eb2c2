"""The page of `bench --report`: whole, self-contained, safe whatever devices call themselves."""

import copy
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from toolkit.bench.conditions import Watch
from toolkit.bench.report.page import page, write_report
from toolkit.bench.trials import Trial, figures_of
from toolkit.errors import PocketError
from toolkit.phone.state import Battery, Cluster, PhoneState

EVIL = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)>&'
VOID = {"meta", "br", "img", "link", "hr", "input"}


def figures(repeats: int = 4, hot: bool = False, name: str = "Adreno 750") -> dict[str, Any]:
    decode = [0.02 if i < 2 or not hot else 0.03 for i in range(repeats)]
    trials = [Trial(0.5, s, (1,), 100.0 + 10 * i) for i, s in enumerate(decode)]
    watch = Watch(lambda command: "")
    watch.states = [
        PhoneState(
            at_s=99.0 + 10 * i,
            battery=Battery(80 - i, 30.0 + i, "USB"),
            thermal_status=2 if hot and i > 2 else 0,
            temperatures={"skin": 33.0 + i},
            gpu_mhz=900.0,
            gpu_limit_mhz=900.0,
            clusters=(Cluster((7,), 3000.0, 3300.0, 3300.0),),
        )
        for i in range(repeats + 1)
    ]
    prefill = [[0.01] * repeats, [0.5] * repeats]
    rows = [{"tokens": n, **figures_of(s, n)} for n, s in zip((1, 512), prefill, strict=True)]
    decoded = figures_of(decode)
    return {
        "about": {
            "plan": "a.plan",
            "model": "m",
            "date": "2026-01-01",
            "driver": "1",
            "profile": "p",
        },
        "device": name,
        "executor": "phone",
        "phone": {"model": "Phone X", "soc": "SM8650", "android": "15"},
        "prefill_tokens_per_s": rows[-1]["tokens_per_s"],
        "decode_tokens_per_s": decoded["tokens_per_s"],
        "first_token_s": 0.5,
        "dispatches_per_token": 33,
        "kv_copy_bytes_per_token": 0,
        "host_us_per_token": 12.0,
        "host_overhead_us": None,
        "peak_rss_bytes": 96_000_000,
        "spread": {"prefill": 0.0, "decode": decoded["spread"]},
        "prefill": rows,
        "decode": {"after": 512, **decoded},
        "load": {"cold_s": None, "warm_s": 0.9},
        "memory": {"weights": 300_000_000, "states": 9, "buffers": 9, "arena": 9},
        "series": {"prefill_s": prefill, "decode_s": decode, "at_s": [t.at_s for t in trials]},
        "conditions": watch.report(trials),
        "compare": [],
    }


def rival() -> dict[str, Any]:
    row = {
        "ratio": 1.2,
        "ratio_range": [1.1, 1.3],
        "ratios": [1.1, 1.2, 1.3],
        "ours": figures_of([1.0]),
        "rival": figures_of([1.2]),
    }
    return {"rival": "other", "prefill": [{"tokens": 64, **row}], "decode": {"after": 64, **row}}


class Elements(HTMLParser):
    """Collects elements; a page whose tags don't match is an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def parsed(*found: dict[str, Any]) -> tuple[str, Elements]:
    text = "\n".join(page(found))
    elements = Elements()
    elements.feed(text)
    assert elements.open == []
    return text, elements


def svgs(text: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]


CASES = {
    "cool": lambda: [figures()],
    "throttled": lambda: [figures(hot=True)],
    "one repeat": lambda: [figures(repeats=1)],
    "rival": lambda: [{**figures(), "compare": [rival()]}],
    "several": lambda: [figures(), figures(hot=True)],
}


@pytest.mark.parametrize("case", CASES)
def test_a_page_is_well_formed_and_fetches_nothing(case: str) -> None:
    text, _ = parsed(*CASES[case]())
    assert not re.search(r"(src|href)\s*=|url\(|@import", text)
    urls = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert urls <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    for picture in svgs(text):
        width, height = map(float, picture.attrib["viewBox"].split()[2:])
        for element in picture.iter():
            for axis, limit in (("x", width), ("cx", width), ("y", height), ("cy", height)):
                value = element.attrib.get(axis)
                assert value is None or 0 <= float(value) <= limit, element.attrib


def test_every_repeat_is_a_dot() -> None:
    text, _ = parsed(figures(repeats=7))
    decode, prefill = svgs(text)[:2]
    assert sum(e.attrib.get("class") == "one dot" for e in decode.iter()) == 7
    assert sum(e.attrib.get("class") == "one dot" for e in prefill.iter()) == 14


def test_bars_and_rates_begin_at_zero() -> None:
    for picture in svgs(parsed(figures())[0]):
        ticks = [e.text for e in picture.iter() if e.attrib.get("class") == "tick"]
        assert "0" in ticks


def test_throttling_is_marked_and_its_absence_told() -> None:
    hot, cool = parsed(figures(hot=True))[0], parsed(figures())[0]
    assert "Throttled:" in hot and "hollow" in hot and "from none to moderate" in hot
    assert "Throttled:" not in cool and "No throttling" in cool and 'class="hot"' not in cool
    silent = figures()
    silent["conditions"] = None
    assert "is not known" in parsed(silent)[0]


def test_names_cannot_break_out() -> None:
    found = figures(name=EVIL)
    found["phone"]["model"] = found["about"]["plan"] = found["about"]["driver"] = EVIL
    found["compare"] = [{**rival(), "rival": EVIL}]
    failed = {"phone": {"model": EVIL}, "error": {"what": EVIL, "because": EVIL, "hint": ""}}
    _, elements = parsed(found, failed)
    assert [attrs for tag, attrs in elements.found if tag == "script"] == [
        {"type": "application/json", "id": "figures"}
    ]
    assert not any(tag == "img" or "onerror" in attrs for tag, attrs in elements.found)


def test_the_figures_are_inside() -> None:
    found = figures(name=EVIL)
    text, _ = parsed(copy.deepcopy(found))
    raw = re.search(r'<script type="application/json" id="figures">(.*?)</script>', text, re.DOTALL)
    assert raw and json.loads(raw[1]) == json.loads(json.dumps([found]))


def test_a_page_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for path in (tmp_path / "report.pdf", tmp_path / "nowhere/report.html"):
        with pytest.raises(PocketError, match="cannot be written"):
            write_report(path, [figures()])
    write_report(tmp_path / "report.html", [figures()])
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
