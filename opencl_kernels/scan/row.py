"""What scans and top-k share: rows, each of which one work-item reads in order."""

from __future__ import annotations

import math
from dataclasses import dataclass

from opencl_kernels.case import Defines, c_expression
from opencl_kernels.kernel import Grid, Knobs, item_grid
from opencl_kernels.map.expression import Node, in_c
from opencl_kernels.map.functions import BOOL, INT
from opencl_kernels.map.indexed import Indexed, coordinates


@dataclass(frozen=True, kw_only=True)
class Row(Indexed):
    """The last axis runs along a row."""

    x: str  # an element

    def __post_init__(self) -> None:
        """Refuse what nothing computes."""
        super().__post_init__()
        if self.element().kind == BOOL:
            raise ValueError("truth values are read as integers")

    def element(self) -> Node:
        """An element of a row: a float or an integer."""
        return self.read(self.x)


def row_defines(case: Row, lets: str = "LETS", prefix: str = "t") -> Defines:
    """Where rows and elements are; what the statements before one are called, and names in them."""
    *outer, inner = case.axes
    x = in_c(case.element(), prefix)
    return {
        **case.operand_defines(),
        "OUTER": c_expression(math.prod(outer)),
        "INNER": c_expression(inner),
        "COORDINATES": coordinates(tuple(outer)),
        "LAST": f"i{len(outer)}",
        lets: x.lets,
        "X": x.value,
        "WHOLE": int(case.element().kind == INT),
    }


def row_grid(case: Row, knobs: Knobs) -> Grid:
    """Items are rows."""
    return item_grid(case.at_numbers(math.prod(case.axes[:-1])), knobs)
