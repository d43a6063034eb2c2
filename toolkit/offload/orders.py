"""Of a plan's tables: the index of each record, and what it adds."""

from pathlib import Path
from typing import Any

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
    order = _list_of(path, plan, table, table.order, "<i4").astype(np.int64)
    if not np.array_equal(np.sort(order), np.arange(table.count)):
        because = f"does not have each of 0 to {table.count - 1} once"
        raise _damaged(path, plan, table.order, because)
    return order


def importance_of(path: Path, plan: Plan, table: Table) -> npt.NDArray[np.float32] | None:
    """What each record adds on average, as the policy `importance` has it; None: all alike.

    Raises PocketError where one is no number from 0 on.
    """
    if table.importance is None:
        return None
    found = _list_of(path, plan, table, table.importance, "<f4").astype(np.float32)
    if not (np.isfinite(found) & (found >= 0)).all():
        raise _damaged(path, plan, table.importance, "has a value that is no number from 0 on")
    return found


def _list_of(path: Path, plan: Plan, table: Table, index: int, dtype: str) -> npt.NDArray[Any]:
    weight = plan.weights[index]
    file = path / plan.files[weight.file].path
    return np.memmap(file, dtype, "r", weight.offset, (table.count,))


def _damaged(path: Path, plan: Plan, index: int, because: str) -> PocketError:
    weight = plan.weights[index]
    file = path / plan.files[weight.file].path
    return PocketError(f"{file} is damaged", f"{weight.name} {because}", RECOMPILE)
