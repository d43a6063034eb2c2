"""A simulation as a page that stands alone: its pictures, its table, its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from toolkit.drawing import pages
from toolkit.errors import PocketError
from toolkit.files import check_folder, write_text
from toolkit.simulation.sparse.chart import hits_chart, memory_chart, perplexity_chart
from toolkit.simulation.sparse.fronts import LITTLE, best_of, within
from toolkit.simulation.sparse.report import HEADS, cells
from toolkit.tables import rate

Figures = Mapping[str, Any]
HOW = """
Nothing here was measured on a device. The model read the text with parts of its networks left out,
which gives the perplexity; which records a token takes and finds in memory is counted on the way.
Times are bytes over rates, as in the simulator of DIP's authors (arXiv 2412.01380): nothing is
computed, memory gives 60 GB/s. The line goes through what nothing beats, a static mask aside: it
makes another model, and bytes of its indices are not counted. Hollow points have a cache that
changes, a last matrix that was fitted again, or densities that differ by layer."""


def check_report(path: Path | None) -> None:
    """Raise for a file that can't be written: before the work, not after it."""
    if path is None:
        return
    if path.suffix.lower() not in (".html", ".htm"):
        hint = f"--report {path.with_suffix('.html')}"
        raise PocketError(f"{path} cannot be written", "it would be an html file", hint)
    check_folder(path)


def write_report(path: Path, figures: Figures) -> None:
    """The page."""
    write_text(path, "\n".join(page(figures)) + "\n")


def page(figures: Figures) -> Iterator[str]:
    """Its lines."""
    about = f"simulated, not measured · {figures['tokens']} tokens of {Path(figures['text']).name}"
    words = f"{about} · weights {figures['weights']} · flash {figures['flash']}"
    yield from pages.page(
        f"{Path(figures['model']).parent.name}: what is left out", words, _body(figures)
    )


def _body(figures: Figures) -> Iterator[str]:
    found = figures["rows"]
    shares = sorted({row["memory"] for row in found})
    best = [row for row in (best_of(within(found, share)) for share in shares) if row is not None]
    yield f'<div class="tiles">{"".join(map(_tile, best))}</div>'
    cards = [
        pages.card(
            f"Perplexity over reads, {share:.0%} of networks in memory", perplexity_chart(rows)
        )
        for share, rows in ((share, within(found, share)) for share in shares)
    ]
    if len(shares) > 1:
        title = f"Rate over memory, perplexity at most {LITTLE:g} more"
        cards.append(pages.card(title, memory_chart(found)))
    cards += [pages.card(f"Hits by layer: {_name(row)}", hits_chart(row)) for row in best]
    yield f'<div class="cards">{"".join(cards)}</div>'
    yield "<section><h2>All cases</h2><table>"
    yield "".join(f"<th>{escape(head)}</th>" for head in HEADS)
    for row in found:
        yield f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells(row))}</tr>"
    yield "</table></section>"
    yield pages.how("How this was found", HOW)
    yield from pages.raw(figures)


def _tile(row: Mapping[str, Any]) -> str:
    words = f"tokens/s, {row['rate_over_all']:.2f} x all, {row['rise']:+.2f} perplexity"
    return pages.tile(_name(row), rate(row["tokens_per_s"]), words)


def _name(row: Mapping[str, Any]) -> str:
    kind = f"{row['sparsity']} {row['density']:g}"
    kind += f", gamma {row['gamma']:g}" if row["gamma"] < 1 else ""
    kind += ", refitted" * row["refit"] + ", by layer" * bool(row["layers"])
    return f"{kind}, {row['memory']:.0%} in memory"
