"""The weights of matmuls and the embedding in codes of 4 bits, where the compile asks for it.

Runs after all merging. Weights that came quantised stay as they are; what `--keep` names stays
float and is marked with the type to store it in.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.matrices import KEPT, Matrix, find_matrices, rows_of
from onnx_passes.ir.facts import Facts
from onnx_passes.ir.graph import GraphError, constant, is_op, operand, through
from onnx_passes.ir.rules import Outcome
from onnx_passes.weights.e0m4 import BITS, NotFinite, Unquantizable, quantize
from onnx_passes.weights.quantized import QuantizedTensor, QuantizedWeight
from opencl_kernels.formats import Array, Quantized

STEP = 256  # rows that are compared at a time


def quantize_e0m4(model: ir.Model) -> Outcome:
    """Turn matrices into quantised tensors, which are made when they are packed."""
    facts = Facts.of(model)
    if facts.weights != "e0m4":
        return Outcome(0)
    matrices = list(find_matrices(model))
    kept = _kept(matrices, facts.keep)
    for value, dtype in kept.items():
        value.metadata_props[KEPT] = dtype
    tied = _tied(matrices)
    floats = [m for m in matrices if m.value not in kept and not _is_quantized(m)]
    made: dict[ir.Value, QuantizedWeight] = {}
    for matrix in floats:
        first = tied.get(matrix.value, matrix)
        if first.value not in made:
            made[first.value] = _quantized(first, facts)
        stored = made[first.value], matrix.tensor.dtype, matrix.transposed, matrix.value.name
        matrix.value.const_value = QuantizedTensor(*stored)
    return Outcome(len(floats))


def _is_quantized(matrix: Matrix) -> bool:
    return isinstance(matrix.tensor, QuantizedTensor)


def _kept(matrices: list[Matrix], rules: Iterable[str]) -> dict[ir.Value, str]:
    """Weights that stay float, by rules PATTERN=TYPE of which the last that fits holds."""
    kept: dict[ir.Value, str] = {}
    for rule in rules:
        pattern, _, dtype = rule.rpartition("=")
        found = [m for m in matrices if any(fnmatchcase(name, pattern) for name in m.names)]
        if not found:
            raise _fits_nothing(rule, matrices)
        floats = [m for m in found if not _is_quantized(m)]
        if not floats:
            raise GraphError(
                f"--keep {rule} fits no weight that is in floats",
                "those it names came quantised, and codes of a source are kept",
                "leave it out; --weights f16 stores all of the model as floats",
            )
        kept |= {m.value: dtype for m in floats}
    return kept


def _fits_nothing(rule: str, matrices: list[Matrix]) -> GraphError:
    words = sorted({m.word for m in matrices} - {""})
    words += [m.value.name or "" for m in matrices if not m.word]
    return GraphError(
        f"--keep {rule} fits no weight of this model",
        f"there are {', '.join(words[:8])}{' …' if words[8:] else ''}",
        "name a weight or its node; * stands for any text (--keep '*down_proj*=f16')",
    )


def _gamma(matrix: Matrix) -> Array | None:
    """The scale of the norm that a matmul reads from."""
    if not matrix.transposed:
        return None
    source = through(operand(matrix.node, 0), "LastRows", "Reshape", "Unsqueeze")
    norm = None if source is None else source.producer()
    if norm is None or not is_op(norm, "RmsNorm", "AddRmsNorm"):
        return None
    return constant(norm.inputs[-1])


def _tied(matrices: list[Matrix]) -> dict[ir.Value, Matrix]:
    """Embeddings that are the head's weight too: they stay one, rounded as the head."""
    pairs = ((a, b) for a in matrices for b in matrices if (a.word, b.word) == ("embed", "lm_head"))
    return {table.value: head for table, head in pairs if _equal(table, head)}


def _equal(a: Matrix, b: Matrix) -> bool:
    if a.sizes != b.sizes or a.tensor.dtype != b.tensor.dtype:
        return False
    spans = ((first, min(first + STEP, a.sizes[0])) for first in range(0, a.sizes[0], STEP))
    return all((a.rows(*span) == b.rows(*span)).all() for span in spans)


def _quantized(matrix: Matrix, facts: Facts) -> QuantizedWeight:
    """The quantised weight, made by rows when they are asked for."""
    # the matrix's own tensor is replaced by what is made here
    tensor, name = matrix.tensor, matrix.value.name or ""
    importance = _importance(matrix)

    def floats(first: int, stop: int) -> Array:
        return rows_of(tensor, matrix.transposed, first, stop)

    def make(first: int, stop: int) -> Quantized:
        try:
            return quantize(floats(first, stop), facts.group, importance, facts.symmetric)
        except Unquantizable as error:
            keep = f"add --keep '{matrix.word or name}=f32'"
            hint = "export it again" if isinstance(error, NotFinite) else keep
            raise GraphError(f"{name} cannot be stored in 4 bits", str(error), hint) from None

    zero = None if facts.symmetric else "u8"
    origin = tensor if matrix.transposed else None
    return QuantizedWeight(*matrix.sizes, BITS, facts.group, "f16", zero, make, floats, origin)


def _importance(matrix: Matrix) -> Array | None:
    """What an error in each column of K counts; None: the same in all."""
    gamma = _gamma(matrix)
    importance = None if gamma is None else gamma.astype("float32") ** 2
    if importance is not None and not np.isfinite(importance).all():
        raise GraphError(
            f"{matrix.value.name} cannot be stored in 4 bits",
            "the norm before it scales by NaN, infinity, or more than float32 can square",
            "check the model's file",
        )
    return importance
