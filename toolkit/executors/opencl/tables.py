"""Of a plan's tables: the index of each record."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from toolkit.errors import PocketError
from toolkit.plan.reader import RECOMPILE
from toolkit.plan.schema import Plan, Table


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
