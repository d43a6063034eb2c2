"""Records of a gather that are computed beside the device, as the runner's threads do.

Here numpy computes them, one launch after the other: nothing is faster for it, but it is what the
runner (android_runner/waves/) computes, and which launches are whose is decided alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opencl_kernels.layouts import Stored
from opencl_kernels.records import packing
from opencl_kernels.records.record import HELD, Record
from toolkit.errors import PocketError
from toolkit.offload.clusters import Launch
from toolkit.plan.schema import Gather, Plan, Table, Unit
from toolkit.plan.schema.activation import activated

DEVICE, THREADS, BOTH = "device", "threads", "both"
KNOWN = ("e0m4", "f16")  # types of records that the runner's threads compute
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Numbers = Callable[[int], Floats]  # of an argument of a gather's dispatch


@dataclass(frozen=True)
class Aside:
    """What of a launch is needed to compute it beside the device."""

    slots: Ints
    indices: Ints
    begins: bool  # sums begin at 0


def engine_for(plan: Plan, word: str | None, point: str) -> str:
    """Which one it is; raises PocketError where there is nothing that threads can compute."""
    engine = word or point or DEVICE
    gathers = [gather for phase in plan.phases for gather in phase.gathers()]
    if engine != DEVICE and not any(is_computable(plan, gather) for gather in gathers):
        because = "it says of no gather what a record adds, or its records are of q8 or f32"
        hint = "--engine device; or compile the model again"
        raise PocketError("threads compute nothing of this plan", because, hint)
    return engine


def is_computable(plan: Plan, gather: Gather) -> bool:
    """Whether others than the device can compute its records."""
    parts = plan.tables[gather.table].parts
    alike = {(part.dtype, part.length, part.group, part.zero) for part in parts}
    known = gather.unit is not None and gather.first is None  # else kernels make its choice
    return known and len(alike) == 1 and parts[0].dtype in KNOWN


def takes(engine: str, launch: Launch) -> bool:
    """Whether threads compute this launch of a gather that they can compute."""
    return engine == THREADS or (engine == BOTH and not launch.resident)


def sums(
    table: Table, unit: Unit, records: npt.NDArray[np.uint32], indices: Ints, numbers: Numbers
) -> Floats:
    """What records [R, words] add to a row of each text: f64 [M, length]."""
    part = table.parts[0]
    scale, zero = HELD[part.dtype][part.zero] if HELD[part.dtype] else ("", "")
    stored = Stored(part.dtype, group=part.group, scale=scale, zero=zero)
    record = Record(len(table.parts), part.length, stored)
    parts = packing.values(record, records)
    x_MD = numbers(unit.x).reshape(-1, part.length)
    h_MR = activated(unit.up_act, x_MD @ parts[-2].T + _bias(unit.up_bias, indices, numbers))
    if unit.gate != "none":
        if unit.given is None:
            gates = x_MD @ parts[0].T
        else:
            gates = numbers(unit.given).reshape(len(x_MD), -1)[:, indices]
        h_MR = activated(unit.act, gates + _bias(unit.gate_bias, indices, numbers)) * h_MR
    return np.asarray(h_MR @ parts[-1])


def _bias(place: int | None, indices: Ints, numbers: Numbers) -> Floats | float:
    return 0.0 if place is None else numbers(place)[indices]
