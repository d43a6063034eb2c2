"""Of a plan's tables: the point that a run keeps to, and the index of each record."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Plan, Point, Table


def choose_point(plan: Plan, memory: int | None = None) -> Point:
    """The point that takes most memory, of those that take no more than `memory` bytes."""
    fitting = [point for point in plan.points if memory is None or point.memory <= memory]
    if fitting:
        return max(fitting, key=lambda point: (point.memory, point.flash))
    least = min(point.memory for point in plan.points)
    because = f"none of its points takes less than {least}"
    hint = f"--memory {least}, or compile it again for less"
    raise PocketError(f"the plan does not run in {memory} bytes", because, hint)


def order_of(path: Path, plan: Plan, table: Table) -> npt.NDArray[np.int64] | None:
    """The index of each record; None where it is the record's number.

    Raises PocketError where two records have the same.
    """
    if table.order is None:
        return None
    weight = plan.weights[table.order]
    file = path / plan.files[weight.file].path
    order = np.memmap(file, "<i4", "r", weight.offset, (table.count,)).astype(np.int64)
    if not np.array_equal(np.sort(order), np.arange(table.count)):
        because = f"{weight.name} does not have each of 0 to {table.count - 1} once"
        raise PocketError(f"{file} is damaged", because, RECOMPILE)
    return order
