"""Matrices in float16; whether one that came in bfloat16 may be, which takes as little room.

bfloat16 has the wider range, float16 the finer steps: halves hold every bfloat16 number between
6e-5 and 65504 as it is, and round smaller ones by up to 2**-25.
"""

import numpy as np
import onnx_ir as ir

from onnx_passes.weights import lazy
from opencl_kernels.formats import Array
from toolkit.errors import PocketError

LARGEST = 65504.0
# Of a matrix of this root mean square, what halves round off has less than 1e-9 of all squares: a
# thousandth of what bfloat16 rounded off before.
LEAST_RMS = 2.0**-10
CHUNK = 1 << 22  # elements that are looked at together


def fits_halves(matrix: ir.TensorProtocol) -> bool:
    """Whether float16 holds the numbers of a matrix nearly as well as bfloat16 does."""
    rows, columns = (int(size) for size in matrix.shape.numpy())
    step, squares = max(1, CHUNK // max(columns, 1)), 0.0
    source = matrix if isinstance(matrix, lazy.Lazy) else ir.tensor(matrix.numpy())
    for first in range(0, rows, step):
        numbers = lazy.part(source, 0, first, min(first + step, rows)).astype(np.float32)
        if not np.abs(numbers).max(initial=0.0) <= LARGEST:  # or not a number
            return False
        squares += float(np.square(numbers, dtype=np.float64).sum())
    return squares >= LEAST_RMS**2 * rows * columns


def in_halves(name: str, rows: Array) -> Array:
    """Rows of a weight in float16; raises PocketError where one of its numbers is none."""
    with np.errstate(over="ignore"):
        halves = np.ascontiguousarray(rows).astype(np.float16)
    if not np.isfinite(halves).all():
        raise PocketError(
            f"weight {name} can't be stored",
            "it has values that are NaN, infinite or too large for f16",
            "export it again, or compile without --memory",
        )
    return halves
