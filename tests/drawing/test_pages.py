"""The parts of a page: whole, self-contained, safe whatever devices call themselves."""

import json
import re

from toolkit.drawing import pages

EVIL = '</script><script>alert(1)</script>"><img src=x onerror=alert(2)>&'


def test_a_page_escapes_all_names_and_fetches_nothing() -> None:
    body = [pages.tile(EVIL, EVIL, EVIL), pages.card(EVIL, "<svg></svg>"), pages.how(EVIL, EVIL)]
    text = "\n".join(pages.page(EVIL, EVIL, [*body, *pages.raw({"name": EVIL})]))
    assert "<script>alert" not in text and "<img" not in text
    assert not re.search(r"<link|url\(|@import|https?:", text)
    assert text.startswith("<!doctype html>") and text.endswith("</html>")


def test_raw_figures_can_be_read_back() -> None:
    figures = {"name": EVIL, "values": [1, 2.5, None]}
    script = re.search(r'<script type="application/json" id="figures">(.*?)</script>',
                       "".join(pages.raw(figures)), re.S)  # fmt: skip
    assert script and json.loads(script[1]) == figures
