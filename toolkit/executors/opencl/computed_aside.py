"""A launch of a gather that numpy computes in place of the device."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyopencl as cl

from toolkit.executors.opencl.gather.second_engine import Aside, sums
from toolkit.executors.opencl.transfers import Transfers
from toolkit.plan.schema import Gather, Ref, Table

Argument = Callable[[Ref], npt.NDArray[Any]]  # what it holds now


def compute_aside(
    step: Gather,
    table: Table,
    slots: cl.Buffer,
    aside: Aside,
    argument: Argument,
    transfers: Transfers,
) -> npt.NDArray[Any]:
    """What the argument `unit.part` of its first dispatch holds behind the launch."""
    args, unit, words = step.dispatches[0].args, step.unit, table.bytes // 4
    assert unit is not None

    def numbers(place: int) -> npt.NDArray[np.float64]:
        return argument(args[place]).astype(float)

    records = transfers.read(slots, "u32", (slots.size // table.bytes, words))
    found = sums(table, unit, records[aside.slots], aside.indices, numbers)
    part = argument(args[unit.part])
    if aside.begins:
        part = np.zeros_like(part)
    part.reshape(-1)[: found.size] += found.reshape(-1).astype(part.dtype)
    return part
