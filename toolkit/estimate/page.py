"""An estimate as files: its pictures as one SVG, or a page with them; each stands alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from toolkit.drawing import pages
from toolkit.errors import PocketError
from toolkit.estimate.charts import charts, sheet
from toolkit.estimate.report import context_table, family_table, sources, title, verdict
from toolkit.files import check_folder, write_text
from toolkit.tables import rate, seconds, size

Figures = Mapping[str, Any]
SUFFIXES = {"svg": (".svg",), "html": (".html", ".htm")}
HOW = """
Nothing here was measured with this model. For each dispatch of the plan, the bytes that it moves
and the operations that it does are set against what the device can do at most and the share of it
that kernels of this kind reach: the longer of the two times counts, and a launch. Shares are
measured where the source below says so, and otherwise assumed: a band of a third on either side is
no surprise. Heat, other apps and the screen are left out."""


def check_pictures(svg: Path | None, html: Path | None) -> None:
    """Raise for files that cannot be written: before the work, not after it."""
    for kind, path in (("svg", svg), ("html", html)):
        if path is None:
            continue
        if path.suffix.lower() not in SUFFIXES[kind]:
            hint = f"pass --{kind} {path.with_suffix(f'.{kind}')}"
            raise PocketError(f"{path} cannot be written", f"it would be an {kind} file", hint)
        check_folder(path)


def write_pictures(svg: Path | None, html: Path | None, figures: Figures) -> None:
    """Write those that are asked for."""
    if svg is not None:
        write_text(svg, sheet(figures))
    if html is not None:
        write_text(html, "\n".join(page(figures)) + "\n")


def page(figures: Figures) -> Iterator[str]:
    """The lines of the page."""
    about = figures["about"]
    words = ("predicted, not measured", f"weights {about['weights']}", about["pocketcl"])
    yield from pages.page(title(figures), " · ".join(words), _body(figures))


def _body(figures: Figures) -> Iterator[str]:
    kind = {True: "good", False: "bad", None: "odd"}[figures["fits"]]
    yield f'<p class="banner {kind}">Predicted: {escape(verdict(figures))}.</p>'
    yield f'<div class="tiles">{"".join(_tiles(figures))}</div>'
    cards = (pages.card(chart.title, chart.svg()) for chart in charts(figures))
    yield f'<div class="cards">{"".join(cards)}</div>'
    yield _table("Predicted over the length of the context", list(context_table(figures)))
    yield _table("Predicted split of the time", list(family_table(figures)))
    yield pages.how("How this was predicted", HOW)
    yield f'<ul class="how">{"".join(f"<li>{escape(line)}</li>" for line in sources(figures))}</ul>'
    yield from pages.raw(figures)


def _tiles(figures: Figures) -> Iterator[str]:
    prompt = figures["prompt_tokens"]
    rates = {f"prefill of {prompt}": "prefill_tokens_per_s", "decode": "decode_tokens_per_s"}
    for label, key in rates.items():
        yield pages.tile(label, rate(figures[key]), "tokens/s, predicted")
    first = seconds(figures["first_token_s"]).split(" ")
    yield pages.tile("first token", first[0], f"{first[1]}, predicted")
    total = size(figures["memory"]["total"]).split(" ")
    where = f"{total[1]} at {figures['context']:,} tokens"
    yield pages.tile("memory", total[0], where)


def _table(name: str, rows: Sequence[Sequence[str]]) -> str:
    head, *lines = rows
    body = "".join(_row(line, "td") for line in lines)
    return f"<section><h2>{escape(name)}</h2><table>{_row(head, 'th')}{body}</table></section>"


def _row(cells: Iterable[str], kind: str) -> str:
    first, *rest = cells
    others = "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in rest)
    return f"<tr><th>{escape(first)}</th>{others}</tr>"
