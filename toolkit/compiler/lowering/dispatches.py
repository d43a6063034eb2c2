"""Dispatches of map, rows and reduce, which read Views, and of attention."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from opencl_kernels.attention.heads import Heads
from opencl_kernels.attention.split import splits_shape
from opencl_kernels.case import ceil_div
from opencl_kernels.map.functions import FLOAT
from opencl_kernels.map.indexed import Operand
from opencl_kernels.map.map import Map
from opencl_kernels.reduce.reduce import Reduction
from opencl_kernels.rows.rows import Rows, Statistics
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.variants import Settings
from toolkit.compiler.views.poly import Axis, Poly, poly, product
from toolkit.compiler.views.scalar import Scalar
from toolkit.compiler.views.view import At, Shape, View, axes_of, size_of, unravelled
from toolkit.compiler.views.walks import sources
from toolkit.plan.expr import Expr
from toolkit.plan.schema import Ref

LONG = 1024  # keys; for fewer, a second launch costs more than it gains
SPLIT_KEYS = 256  # the fewest keys that are worth a work-group of their own
GPU_GROUPS = 4  # of a compute unit, one of which computes while the others wait for keys


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
    if is_empty(view.shape):
        return
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
    if is_empty(view.shape):
        return
    sizes, found, (x, *texts) = rows_read(b, view, *vectors)
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
    value: str = "s",
) -> None:
    """A dispatch that reduces the last `reduced` axes of a View.

    value  what becomes of the result s; {n} is how many elements it is made of
    """
    if is_empty(view.shape[: len(view.shape) - reduced]):
        return
    element = view.read(axes_of(view.shape, ones=True))
    found, count = Reading(b, [element]), product(view.shape[len(view.shape) - reduced :])
    n = f"({count.text(str)})"
    if element.kind == FLOAT:
        n = f"Float{n}" if count.number is None else f"{count.number}.0"
    case = Reduction(
        axes=tuple(map(size_of, view.shape)),
        inputs=found.operands,
        reduced=reduced,
        op=op,
        x=found.text(element),
        value=value.format(n=n),
        y=location.dtype,
    )
    b.emit(name, "reduce", case, {**found.refs, "y": location.ref})


def is_empty(shape: Sequence[Poly]) -> bool:
    """Whether there are no elements in any case."""
    return any(size.number == 0 for size in shape)


def row_coordinates(view: View) -> tuple[tuple[Expr, ...], list[Poly]]:
    """Sizes of as few axes as reach all rows, then of a row, which runs along the last axis of a
    View; and the View's coordinates over them."""
    outer = View(view.shape[:-1], view.dtype, lambda at: view.read([*at, poly(0)]))
    axes, at = merged_axes(outer)
    axes = axes or [poly(1)]
    size = view.shape[-1]
    place = poly(0) if size.number == 1 else Poly.of(Axis(f"i{len(axes)}", size))
    return (*map(size_of, axes), size_of(size)), [*at, place]


def rows_read(b: PhaseBuilder, *views: View) -> tuple[tuple[Expr, ...], Reading, list[str]]:
    """Sizes of the axes over which rows of Views of one shape are read, the inputs, and the texts
    of their elements."""
    sizes, at = row_coordinates(views[0])
    elements = [view.read(at) for view in views]
    found = Reading(b, elements)
    return sizes, found, list(map(found.text, elements))


def merged_axes(view: View) -> tuple[list[Poly], list[Poly]]:
    """Sizes of as few axes as read the View without a division more, and coordinates over them."""
    runs = [[k] for k, size in enumerate(view.shape) if size.number != 1]
    least = _divisions(view, runs)
    for k in reversed(range(1, len(runs))):
        tried = [*runs[: k - 1], runs[k - 1] + runs[k], *runs[k + 1 :]]
        found = _divisions(view, tried)
        if found <= least:
            runs, least = tried, found
    return [product(view.shape[k] for k in run) for run in runs], _coordinates(view.shape, runs)


def _divisions(view: View, runs: list[list[int]]) -> int:
    text = view.read(_coordinates(view.shape, runs)).text(str)
    return text.count("//") + text.count("%")


def _coordinates(shape: Shape, runs: list[list[int]]) -> list[Poly]:
    """Coordinates of `shape` over axes i0, i1 …, each of which stands for a run of its own."""
    at = [poly(0)] * len(shape)
    for number, run in enumerate(runs):
        sizes = [shape[k] for k in run]
        axis = Poly.of(Axis(f"i{number}", product(sizes)))
        for k, place in zip(run, unravelled(axis, sizes), strict=True):
            at[k] = place
    return at


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

    Twice what fills it, of SPLIT_KEYS or more, if the K/V heads alone are too few.
    """
    heads, keys = settings.batch * case.G, min(case.C, case.WINDOW or case.C)
    full = settings.compute_units * (1 if settings.device_class.is_cpu else GPU_GROUPS)
    if heads >= full or keys < LONG:
        return 0
    return int(min(ceil_div(2 * full, heads), keys // SPLIT_KEYS))
