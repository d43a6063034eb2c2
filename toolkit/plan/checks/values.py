"""What values of a plan must be, wherever they stand: names, sizes, shapes, indices."""

from collections.abc import Iterator, Sequence

from toolkit.errors import PocketError
from toolkit.plan.expr import Box, Expr, interval, maximum, product, symbols_of
from toolkit.plan.reader import damaged
from toolkit.plan.schema import DTYPE_BYTES

RECORDS = "records"  # the symbol that only grids inside of a gather know: how many are in a ticket
MOST_BYTES = 2**42  # of anything: sums of a plan stay far below 64 bits


def storage_problems(
    at: str, dtype: str, shape: tuple[Expr, ...], nbytes: int, box: Box
) -> Iterator[PocketError]:
    """Known type, sizes over known symbols, and room for the largest shape."""
    if dtype not in DTYPE_BYTES:
        yield damaged(f"{at}.dtype", f"unknown type {dtype!r}; known: {', '.join(DTYPE_BYTES)}")
    for i, dim in enumerate(shape):
        yield from expr_problems(f"{at}.shape[{i}]", dim, box)
    yield from size_problems(f"{at}.bytes", nbytes)
    try:
        needed = maximum(product(shape), box) * DTYPE_BYTES[dtype]
    except PocketError as error:
        raise damaged(f"{at}.shape", error.because) from None
    if nbytes < max(1, needed):
        yield damaged(f"{at}.bytes", f"{nbytes} are too few for {needed} at the largest shape")


def size_problems(at: str, nbytes: int) -> Iterator[PocketError]:
    """A number of bytes that something may have."""
    if not 0 <= nbytes <= MOST_BYTES:
        yield damaged(at, f"{nbytes} is no size in bytes")


def expr_problems(at: str, expr: Expr, box: Box) -> Iterator[PocketError]:
    """Known symbols, and no negative or undefined value within their bounds."""
    unknown = sorted(symbols_of(expr) - set(box))
    if unknown:
        yield damaged(at, f"unknown symbol or operator {unknown[0]!r}")
    try:
        low = interval(expr, box)[0]
    except PocketError as error:
        raise damaged(at, error.because) from None
    if low < 0:
        yield damaged(at, f"{expr} may be negative")


def index_problems(at: str, index: int, count: int) -> Iterator[PocketError]:
    """An index into a list of `count`."""
    if not 0 <= index < count:
        yield damaged(at, f"index {index} is out of range: there are {count}")


def duplicate_problems(key: str, names: Sequence[str]) -> Iterator[PocketError]:
    """Names that must differ."""
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        if seen.setdefault(name, i) != i:
            yield damaged(f"{key}[{i}]", f"{name!r} stands at [{seen[name]}] already")
