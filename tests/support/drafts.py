"""Drafts of dispatches computed in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from opencl_kernels import FAMILIES
from toolkit.plan.schema import Ref

Memory = dict[Ref, np.ndarray[Any, Any]]


def run(drafts: list[Any], memory: Memory) -> Memory:
    """The memory after all of them, by their families' references."""
    memory = dict(memory)
    for draft in drafts:
        inputs = {name: memory[ref] for name, ref in draft.refs.items()}
        for name, array in FAMILIES[draft.family].reference(inputs, draft.case).items():
            memory[draft.refs[name]] = array
    return memory
