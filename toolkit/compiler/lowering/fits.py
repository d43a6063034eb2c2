"""No dispatch touches more than its arguments hold, whatever the symbols are within their bounds.

Kernels say what they touch (`Kernel.arguments`), so that this is proved once, when a dispatch is
made, and not where a kernel writes past a buffer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from opencl_kernels.kernel import Argument, Case
from toolkit.errors import PocketError
from toolkit.plan.expr import Box, Expr, maximum

MOST_ELEMENTS = 2**31 - 1  # kernels count in int
REPORT = "a fault of PocketCL: please report it with the model"


@dataclass(frozen=True)
class Extent:
    """What the memory behind an argument holds: elements of one type."""

    dtype: str
    elements: Expr


def check_fit(
    name: str,
    arguments: Sequence[Argument],
    case: Case,
    extents: Mapping[str, Extent],
    box: Box,
) -> None:
    """Raise unless the arguments of dispatch `name` hold what its kernel touches.

    case     with the symbols that argument shapes depend on
    extents  of each argument, by its name
    box      bounds of the symbols
    """
    for problem in _problems(arguments, case, extents, box):
        raise PocketError(f"{name} cannot be lowered", *problem)


def _problems(
    arguments: Sequence[Argument], case: Case, extents: Mapping[str, Extent], box: Box
) -> Iterator[tuple[str, str]]:
    for argument in arguments:
        held, storage = extents[argument.name], argument.storage(case)
        touched = _count(argument.shape(case))
        if storage != held.dtype:
            yield f"its kernel reads {argument.name} as {storage}, it is {held.dtype}", REPORT
        if maximum(_count([touched - held.elements]), box) > 0:
            because = f"its kernel touches {touched} elements of {argument.name}"
            yield f"{because}, which has {held.elements}", REPORT
        if (most := maximum(touched, box)) > MOST_ELEMENTS:
            because = f"{argument.name} has up to {most:,} elements, kernels count to 2^31"
            yield because, "a smaller --max-context, --prefill-chunk or --batch"


def _count(shape: Sequence[Any]) -> Any:
    return sympy.expand(sympy.prod(shape))
