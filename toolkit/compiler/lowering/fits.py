"""Prove that a dispatch stays within its arguments, for all symbols within their bounds.

Families declare what their kernels touch (`Family.arguments`). So this is proved once, when a
dispatch is made, and not found out when a kernel writes past a buffer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from opencl_kernels import Argument
from toolkit.errors import PocketError
from toolkit.plan.expr import Box, Expr, maximum

MOST_ELEMENTS = 2**31 - 1  # kernels index with int
REPORT = "report this with the model: it is a fault of PocketCL"


@dataclass(frozen=True)
class Extent:
    """The memory of an argument: a number of elements of one type."""

    dtype: str
    elements: Expr


def check_fit(
    name: str, arguments: Sequence[Argument], extents: Mapping[str, Extent], box: Box
) -> None:
    """Raise unless the arguments of dispatch `name` are as large as what its kernels touch.

    extents  of each argument whose memory is known here, by its name
    box      bounds of the symbols
    """
    for problem in _problems(arguments, extents, box):
        raise PocketError(f"{name} cannot be lowered", *problem)


def _problems(
    arguments: Sequence[Argument], extents: Mapping[str, Extent], box: Box
) -> Iterator[tuple[str, str]]:
    for argument in (each for each in arguments if each.name in extents):
        memory, touched = extents[argument.name], _count(argument.shape)
        if argument.dtype != memory.dtype:
            because = f"its kernel reads {argument.name} as {argument.dtype}"
            yield f"{because}, it is {memory.dtype}", REPORT
        if maximum(_count([touched - memory.elements]), box) > 0:
            because = f"its kernel touches {touched} elements of {argument.name}"
            yield f"{because}, which has {memory.elements}", REPORT
        if (most := maximum(touched, box)) > MOST_ELEMENTS:
            because = f"{argument.name} has up to {most:,} elements, kernels count to 2^31"
            yield because, "choose a smaller --max-context, --prefill-chunk or --batch"


def _count(shape: Sequence[Any]) -> Any:
    return sympy.expand(sympy.prod(shape))
