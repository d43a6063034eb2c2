"""Attention among Views: a product that reads a softmax over one product of queries and keys.

Whatever stands between the two products and the softmax (scale, soft-cap, mask, bias, a column of
sinks) is an expression in the score; heads, transposes and repeated keys are index maps. So any
spelling becomes a `Scores`, or none is found and everything is computed as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.compiler.lowering.builder import PhaseBuilder
from toolkit.compiler.lowering.deferred import Deferred, Product, Softmax
from toolkit.compiler.lowering.values import symbol_of
from toolkit.compiler.views.division import floordiv, joined, remainder
from toolkit.compiler.views.poly import Axis, Poly, poly, product
from toolkit.compiler.views.scalar import Apply, Load, Local, Number, Scalar
from toolkit.compiler.views.simplify import apply
from toolkit.compiler.views.view import At, View, linear, unravelled
from toolkit.compiler.views.walks import loads, replaced


@dataclass(frozen=True)
class Rows:
    """How the rows of a product [.., M, N] are the queries (text, head, token)."""

    outer: tuple[Poly, ...]
    batch: Poly
    heads: Poly
    seq: Poly
    inside: bool  # the heads of a token are rows of one matrix: M = seq * heads

    def at(self, b: Poly, h: Poly, i: Poly) -> list[Poly]:
        """The outer coordinates and the row of a query."""
        if self.inside:
            return [*unravelled(b, self.outer), i * self.heads + h]
        return [*unravelled(b * self.heads + h, self.outer), i]

    def query(self, at: At) -> tuple[Poly, Poly, Poly]:
        """The inverse: text, head and token of a row."""
        *outer, row = at
        flat = joined(linear(outer, self.outer))
        if self.inside:
            return flat, remainder(row, self.heads), floordiv(row, self.heads)
        return floordiv(flat, self.heads), remainder(flat, self.heads), row


@dataclass(frozen=True)
class Scores:
    """softmax(score(q k)) v; `score` and `sink` are over i0 text, i1 head, i2 token, i3 key."""

    rows: Rows
    axes: tuple[Poly, Poly, Poly, Poly]
    keys: Poly  # how many there are
    q: View  # [B, S, H, K]
    k: Load  # at axes i0, i1, i3 and d
    v: Load
    key_width: Poly
    value_width: Poly
    score: Scalar
    sink: Scalar | None


S, D = Local("s"), "d"


def scores_of(b: PhaseBuilder, mix: Product) -> Scores | None:
    """The attention that a product of weights [.., M, T] and values [.., T, V] is, if it is one."""
    rows = _rows(b, mix)
    if rows is None:
        return None
    total, width = mix.left.shape[-1], mix.right.shape[-1]
    text, head, token, key = _axes(rows, total)
    weight = _unguarded(mix.left.read([*rows.at(text, head, token), key]))
    softmax = _deferred(weight, Softmax)
    if softmax is None or not isinstance(weight, Load):
        return None
    places = unravelled(weight.at, softmax.shape)
    if places[-1] != key:
        return None
    assert isinstance(softmax.of, Softmax)
    scores = softmax.of.x
    element = scores.read(places)
    found = {load for load in loads(element) if _deferred(load, Product) is not None}
    if len(found) != 1:
        return None
    (product_load,) = found
    extra = softmax.shape[-1] - total
    if extra.number not in (0, 1):
        return None
    sink = scores.read([*places[:-1], total]) if extra.number else None
    if sink is not None and any(_deferred(load, Product) for load in loads(sink)):
        return None
    keys = _keys(product_load, key)
    value = mix.right.read([*rows.at(text, head, token)[:-1], key, _axis(D, width)])
    if keys is None or not isinstance(value, Load):
        return None
    return Scores(
        rows=rows,
        axes=(text, head, token, key),
        keys=total,
        q=_queries(mix, rows, softmax, product_load),
        k=keys.load,
        v=value,
        key_width=keys.width,
        value_width=width,
        score=replaced(element, product_load, _times(S, keys.factor)),
        sink=sink,
    )


def _axis(name: str, size: Poly) -> Poly:
    return poly(0) if size.number == 1 else Poly.of(Axis(name, size))


def _axes(rows: Rows, total: Poly) -> tuple[Poly, Poly, Poly, Poly]:
    sizes = (rows.batch, rows.heads, rows.seq, total)
    text, head, token, key = (_axis(f"i{k}", size) for k, size in enumerate(sizes))
    return text, head, token, key


def _rows(b: PhaseBuilder, mix: Product) -> Rows | None:
    """Which rows of the weights are whose, by their number."""
    *outer, M = mix.left.shape[:-1]
    seq, batch, flat = symbol_of(b, "seq"), poly(b.settings.batch), product(outer)
    if seq == M and flat.number is not None and not flat.number % b.settings.batch:
        heads = poly(flat.number // b.settings.batch)
        return Rows(tuple(outer), batch, heads, seq, inside=False)
    if flat == batch:
        heads = floordiv(M, seq)
        if heads.number is not None and heads * seq == M:
            return Rows(tuple(outer), batch, heads, seq, inside=True)
    return None


def _unguarded(weight: Scalar) -> Scalar:
    """Without Where(IsNaN(x), 0, x), the guard of exporters against rows without a key."""
    if isinstance(weight, Apply) and weight.op == "Where":
        test, _, x = weight.operands
        if isinstance(test, Apply) and test.op == "IsNaN" and test.operands == (x,):
            return x
    return weight


def _deferred(load: Scalar, kind: type[Product] | type[Softmax]) -> Deferred | None:
    """The memory that a load reads, if such an op will fill it."""
    source = load.source if isinstance(load, Load) else None
    return source if isinstance(source, Deferred) and isinstance(source.of, kind) else None


@dataclass(frozen=True)
class Keys:
    """Element d of a key, what all of them are multiplied by, and their width."""

    load: Load
    factor: float
    width: Poly


def _keys(product: Load, key: Poly) -> Keys | None:
    """The keys of a product, at the coordinates of its element."""
    of = product.source.of
    *outer, _, column = unravelled(product.at, product.source.shape)
    if column != key:
        return None
    width, factor = of.left.shape[-1], 1.0
    element: Scalar = of.right.read([*outer, _axis(D, width), column])
    while isinstance(element, Apply) and element.op == "Mul":
        number, element = sorted(element.operands, key=lambda each: not isinstance(each, Number))
        if not isinstance(number, Number):
            return None
        factor *= number.value
    return Keys(element, factor, width) if isinstance(element, Load) else None


def _times(score: Scalar, factor: float) -> Scalar:
    return score if factor == 1.0 else apply("Mul", score, Number(factor))


def _queries(mix: Product, rows: Rows, softmax: Deferred, load: Load) -> View:
    """The queries as a View [B, S, H, K], read through all that lies between."""
    left = load.source.of.left
    shape = (rows.batch, rows.seq, rows.heads, left.shape[-1])

    def read(at: At) -> Scalar:
        text, token, head, d = at
        weight = _unguarded(mix.left.read([*rows.at(text, head, token), poly(0)]))
        assert isinstance(weight, Load) and isinstance(softmax.of, Softmax)
        element = softmax.of.x.read(unravelled(weight.at, softmax.shape))
        here = next(each for each in loads(element) if each.source is load.source)
        *outer, row, _ = unravelled(here.at, load.source.shape)
        found: Scalar = left.read([*outer, row, d])
        return found

    return View(shape, left.dtype, read)
