"""Dispatches of map, rows and reduce, which read Views, and of attention."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from opencl_kernels.attention.heads import Heads
from opencl_kernels.attention.split import splits_shape
from opencl_kernels.case import ceil_div
from opencl_kernels.map.functions import INT
from opencl_kernels.map.indexed import Operand
from opencl_kernels.map.map import Map
from opencl_kernels.reduce.reduce import Reduction
from opencl_kernels.rows.rows import Rows, Statistics
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.variants import Settings
from toolkit.compiler.views.poly import Axis, Poly, floordiv, poly, product, remainder
from toolkit.compiler.views.scalar import Scalar, sources
from toolkit.compiler.views.view import At, Shape, View, axes_of, size_of
from toolkit.plan.expr import Expr
from toolkit.plan.schema import Ref

LONG = 1024  # keys; for fewer, a second launch costs more than it gains
SPLIT_KEYS = 256  # the fewest keys that are worth a work-group of their own


class Reading:
    """The inputs of a kernel that reads Views: what its case says of them, and their memory."""

    def __init__(self, b: PhaseBuilder, elements: Sequence[Scalar]) -> None:
        """Number the memory that the elements load from."""
        order = dict.fromkeys(each for element in elements for each in sources(element))
        self.names = {source: f"a{i}" for i, source in enumerate(order)}
        self.refs: dict[str, Ref] = {name: source.ref for source, name in self.names.items()}
        self.operands = tuple(Operand(s.dtype, b.elements(s.ref)) for s in self.names)

    def text(self, element: Scalar) -> str:
        """An element as an expression over the inputs."""
        return element.text(self.names.__getitem__)


def emit_map(
    b: PhaseBuilder,
    name: str,
    location: Location,
    view: View,
    into: Callable[[At], Poly] | None = None,
) -> None:
    """A dispatch that computes every element of a View; `into`: where each goes."""
    axes, at = merged_axes(view)
    element = view.read(at)
    found = Reading(b, [element])
    place = into(at).text(str) if into else ""
    case = Map(
        axes=tuple(map(size_of, axes)) or (1,),
        value=found.text(element),
        inputs=found.operands,
        into=place,
        elements=b.elements(location.ref) if into else None,
        y=location.dtype,
    )
    b.emit(name, "map", case, {**found.refs, "y": location.ref})


def emit_rows(
    b: PhaseBuilder,
    name: str,
    location: Location,
    view: View,
    by: Statistics,
    vectors: Sequence[View] = (),
) -> None:
    """A dispatch over the rows of a View, which run along its last axis.

    by  its value reads elements of `vectors`, which have the shape of the View, as {v0}, {v1} …
    """
    sizes, at = row_coordinates(view)
    elements = [each.read(at) for each in (view, *vectors)]
    found = Reading(b, elements)
    x, *texts = map(found.text, elements)
    named = {f"v{i}": text for i, text in enumerate(texts)}
    case = Rows(
        axes=sizes,
        inputs=found.operands,
        x=x,
        y=location.dtype,
        by=replace(by, value=by.value.format(**named)),
    )
    b.emit(name, "rows", case, {**found.refs, "y": location.ref})


def emit_reduce(
    b: PhaseBuilder,
    name: str,
    location: Location,
    view: View,
    reduced: int,
    op: str = "sum",
    x: str = "{x}",
    value: str = "s",
) -> None:
    """A dispatch that reduces the last `reduced` axes of a View.

    x, value  what becomes of an element {x}, and of the result s; {n} is how many it is made of
    """
    element = view.read(axes_of(view.shape, ones=True))
    found, count = Reading(b, [element]), product(view.shape[len(view.shape) - reduced :])
    n = f"({count.text(str)})" if view.kind == INT else _as_float(count)
    case = Reduction(
        axes=tuple(map(size_of, view.shape)),
        inputs=found.operands,
        reduced=reduced,
        op=op,
        x=x.format(x=found.text(element)),
        value=value.format(n=n),
        y=location.dtype,
    )
    b.emit(name, "reduce", case, {**found.refs, "y": location.ref})


def _as_float(count: Poly) -> str:
    return f"Float({count.text(str)})" if count.number is None else f"{count.number}.0"


def row_coordinates(view: View) -> tuple[tuple[Expr, ...], list[Poly]]:
    """Sizes of as few axes as reach all rows, then of a row, which runs along the last axis of a
    View; and the View's coordinates over them."""
    outer = View(view.shape[:-1], view.dtype, lambda at: view.read([*at, poly(0)]))
    axes, at = merged_axes(outer)
    axes = axes or [poly(1)]
    size = view.shape[-1]
    place = poly(0) if size.number == 1 else Poly.of(Axis(f"i{len(axes)}", size))
    return (*map(size_of, axes), size_of(size)), [*at, place]


def merged_axes(view: View) -> tuple[list[Poly], list[Poly]]:
    """Sizes of as few axes as read the View without a division more, and coordinates over them."""
    sizes = [size for size in view.shape if size.number != 1]
    k = len(sizes) - 1
    while k > 0:
        tried = [*sizes[: k - 1], sizes[k - 1] * sizes[k], *sizes[k + 1 :]]
        if _divisions(view, tried) <= _divisions(view, sizes):
            sizes = tried
        k -= 1
    return sizes, _coordinates(view.shape, sizes)


def _divisions(view: View, sizes: list[Poly]) -> int:
    text = view.read(_coordinates(view.shape, sizes)).text(str)
    return text.count("//") + text.count("%")


def _coordinates(shape: Shape, sizes: list[Poly]) -> list[Poly]:
    """Coordinates of `shape` over axes i0, i1 … that are runs of its own."""
    at, k = list[Poly](), len(shape)
    for number, size in reversed([*enumerate(sizes)]):
        left, rest = Poly.of(Axis(f"i{number}", size)), size
        while rest.number != 1:
            k -= 1
            own = shape[k]
            rest = floordiv(rest, own)
            at.append(left if rest.number == 1 else remainder(left, own))
            left = floordiv(left, own)
    return [*(poly(0) for _ in range(k)), *reversed(at)]


def emit_attention(b: PhaseBuilder, name: str, case: Heads, refs: dict[str, Ref]) -> None:
    """Decode (one token per text) and prefill (many) have different kernels."""
    if b.settings.batch != case.M:
        b.emit(name, "attention_prefill", case, refs)
        return
    count = split_count(b.settings, case)
    if not count:
        b.emit(name, "attention_decode", case, refs)
        return
    case = replace(case, SPLITS=count)
    refs["splits"] = b.temporary(f"{name} splits", "f32", splits_shape(case))
    b.emit(f"{name} splits", "attention_split", case, refs)
    b.emit(name, "attention_combine", case, refs)


def split_count(settings: Settings, case: Heads) -> int:
    """Into how many splits (split-KV) a token's keys are divided to fill the device; 0: none.

    Two for each compute unit, of SPLIT_KEYS or more, if the K/V heads alone are too few.
    """
    heads, keys = settings.batch * case.G, min(case.C, case.WINDOW or case.C)
    if heads >= settings.compute_units or keys < LONG:
        return 0
    return int(min(ceil_div(2 * settings.compute_units, heads), keys // SPLIT_KEYS))
