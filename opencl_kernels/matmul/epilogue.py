"""Epilogues: what a product stores in place of its sums, an expression over them and other memory.

The language is that of maps. `v` is the sum, its bias in it; of a gated unit `v` is the gate and
`u` the up. i0 and i1 are the row and the column of y.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from opencl_kernels.case import Defines
from opencl_kernels.formats import Array
from opencl_kernels.map.expression import Node, evaluate, in_c, places
from opencl_kernels.map.functions import FLOAT
from opencl_kernels.map.lanes import in_c16

SUM, UP = "v", "u"


def read(case: Any) -> Node:
    """The epilogue of a product; raises ValueError where it is none."""
    names = (SUM, UP) if case.glu else (SUM,)
    node: Node = case.read(case.epilogue or SUM, *names)
    if node.kind != FLOAT or max(places(node), default=0) > 1:
        raise ValueError(f"{case.epilogue!r} is no float over {SUM}, i0 and i1")
    return node


def ended(case: Any, inputs: Mapping[str, Array], v_MN: Array, u_MN: Array | None = None) -> Array:
    """What is stored of the sums at columns Y0 on, in numpy."""
    if not case.epilogue:
        return v_MN if u_MN is None else case.glu.unit(v_MN, u_MN)
    rows, columns = (np.arange(size) for size in v_MN.shape)
    at = {"i0": rows[:, None], "i1": columns + case.Y0, SUM: v_MN, UP: u_MN}
    return np.asarray(np.broadcast_to(evaluate(read(case), case.known(inputs) | at), v_MN.shape))


def defines(case: Any) -> Defines:
    """As epilogue.clh reads them; none where the sums themselves are stored."""
    if not case.epilogue:
        return {}
    source = in_c(read(case))
    return {
        **case.operand_defines(),
        "EPILOGUE": 1,
        "LETS": source.lets,
        "VALUE": source.value,
    }


def cpu_defines(case: Any) -> Defines:
    """And as epilogue_cpu.clh does: the epilogue of 16 columns at once."""
    wide = in_c16(read(case), "i1", (SUM, UP)) if case.epilogue else None
    return {} if wide is None else {"WIDE": 1, "LETS16": wide.lets, "VALUE16": wide.value}
