"""ONNX's elementwise ops: as OpenCL C writes them, as numpy does, and on which types.

One table for all that compute them: the kernels, their reference, the passes that fuse chains.
Max, Min and Relu hand NaN on, as ONNX demands; fmax and fmin would swallow it, so that `larger`
and `smaller` stand in elementwise.cl.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ScalarOp:
    """A function of single elements; its result has the type of its operands."""

    c: str  # over operands {0} and {1}
    numpy: Callable[..., Any]
    operands: str = "float"  # the kind of their type: what passes fuse, and kernels compute

    @property
    def arity(self) -> int:
        """How many operands it takes."""
        return 2 if "{1}" in self.c else 1


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


_erf = np.vectorize(math.erf, otypes=[float])

SCALAR_OPS: dict[str, ScalarOp] = {
    "Add": ScalarOp("({0} + {1})", np.add),
    "Sub": ScalarOp("({0} - {1})", np.subtract),
    "Mul": ScalarOp("({0} * {1})", np.multiply),
    "Div": ScalarOp("({0} / {1})", np.divide),
    "Pow": ScalarOp("pow({0}, {1})", np.power),
    "Max": ScalarOp("larger({0}, {1})", np.maximum),
    "Min": ScalarOp("smaller({0}, {1})", np.minimum),
    "Neg": ScalarOp("(-{0})", np.negative),
    "Abs": ScalarOp("fabs({0})", np.abs),
    "Exp": ScalarOp("exp({0})", np.exp),
    "Log": ScalarOp("log({0})", np.log),
    "Sqrt": ScalarOp("sqrt({0})", np.sqrt),
    "Reciprocal": ScalarOp("(1.0f / {0})", np.reciprocal),
    "Sigmoid": ScalarOp("(1.0f / (1.0f + exp(-{0})))", _sigmoid),
    "Tanh": ScalarOp("tanh({0})", np.tanh),
    "Relu": ScalarOp("larger({0}, 0.0f)", lambda x: np.maximum(x, 0)),
    "Erf": ScalarOp("erf({0})", _erf),
    "Identity": ScalarOp("{0}", lambda x: x),
}
