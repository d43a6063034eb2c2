"""The input that says how many rows of logits are wanted  ->  0, by which exporters mean all.

Which rows a plan computes is decided by `last_rows`. (transformers' `logits_to_keep`, an input of
files made for transformers.js.)
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.edit import add_constant
from onnx_passes.ir.graph import rank
from onnx_passes.ir.rules import Outcome

_NAMES = ("num_logits_to_keep", "logits_to_keep")


def keep_all_logits(model: ir.Model) -> Outcome:
    """Make such an input a constant; count them."""
    found = [value for value in model.graph.inputs if _is_count(value)]
    for value in found:
        assert value.dtype is not None
        zero = np.zeros([1] * (rank(value) or 0), value.dtype.numpy())
        model.graph.inputs.remove(value)
        constant = add_constant(model.graph, zero, f"{value.name}/all")
        ir.convenience.replace_all_uses_with(value, constant)
    return Outcome(len(found))


def _is_count(value: ir.Value) -> bool:
    whole = value.dtype is not None and value.dtype.is_integer()
    return value.name in _NAMES and whole and rank(value) in (0, 1)
