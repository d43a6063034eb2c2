"""The parts of a self-contained page: its frame with the style inline, tiles, cards, raw figures.

A page fetches nothing. Names come from devices and models, so all text is escaped.
"""

import json
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any


def page(title: str, subtitle: str, body: Iterable[str]) -> Iterator[str]:
    """The lines of a file; `body` is its content, as HTML."""
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield f"<title>{escape(title)}</title>\n<style>{style()}</style>\n</head>\n<body>\n<main>"
    yield f'<header><h1>{escape(title)}</h1><p class="sub">{escape(subtitle)}</p></header>'
    yield from body
    yield "</main>\n</body>\n</html>"


def style() -> str:
    """The style sheet of pages, which pictures in them use too."""
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")


def tile(label: str, value: str, unit: str) -> str:
    """A figure in large digits."""
    return (
        f'<div class="tile"><span class="label">{escape(label)}</span>'
        f'<span class="value">{escape(value)}</span>'
        f'<span class="unit">{escape(unit)}</span></div>'
    )


def card(title: str, picture: str, wide: bool = False) -> str:
    """A picture with its title."""
    kind = "card wide" if wide else "card"
    return f'<figure class="{kind}"><figcaption>{escape(title)}</figcaption>{picture}</figure>'


def how(title: str, words: str) -> str:
    """A section of small print."""
    return f'<section><h2>{escape(title)}</h2><p class="how">{escape(words)}</p></section>'


def raw(figures: Any) -> Iterator[str]:
    """The figures themselves, for programs and for people."""
    # "<" can't appear in a script element's data: "</script>" or "<!--" would end or change it.
    text = json.dumps(figures, indent=1).replace("<", "\\u003c")
    yield f'<script type="application/json" id="figures">{text}</script>'
    yield f"<details><summary>Raw figures (JSON)</summary><pre>{escape(text)}</pre></details>"
