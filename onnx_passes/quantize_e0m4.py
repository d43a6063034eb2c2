"""The weights of matmuls and the embedding in codes of 4 bits, where the compile asks for it.

Runs behind all merging. Codes that came with the model stay as they are; what `--keep` names stays
float and is marked with the type to store it in.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.graph import (
    GraphError,
    attribute,
    constant,
    is_constant,
    operand,
    rank,
    through,
)
from onnx_passes.weights.e0m4 import BITS, NotFinite, Unquantizable, quantize
from onnx_passes.weights.lazy import names_of, part
from onnx_passes.weights.quantized import CodedTensor, CodedWeight
from opencl_kernels.formats import Array, Coded

KEPT = "pocket.storage"  # metadata of a weight that stays float: "f16" or "f32"
STEP = 256  # rows that are compared at a time


@dataclass(frozen=True)
class Matrix:
    """A weight, who reads it, and where it lies as [K, N] (as MatMul has it) or [N, K]."""

    value: ir.Value
    node: ir.Node
    word: str  # what rules call it by: "embed", "lm_head", or "" for the others
    transposed: bool

    @property
    def tensor(self) -> ir.TensorProtocol:
        """Its values, unread."""
        assert self.value.const_value is not None
        return self.value.const_value

    @property
    def sizes(self) -> tuple[int, int]:
        """N, K."""
        rows, columns = self.tensor.shape.numpy()
        return (columns, rows) if self.transposed else (rows, columns)

    @property
    def kept_bits(self) -> int | None:
        """Of a float that a rule keeps."""
        return {"f16": 16, "f32": 32}.get(self.value.metadata_props.get(KEPT, ""))

    @property
    def names(self) -> set[str]:
        """What a pattern may match."""
        readers = {use.node.name or "" for use in self.value.uses()}
        return {self.word, self.value.name or "", *readers, *names_of(self.tensor)} - {""}

    def rows(self, first: int, stop: int) -> Array:
        """Rows [first, stop) of W[N, K]."""
        axis = int(self.transposed)
        return _upright(part(self.tensor, axis, first, stop), axis)


def _upright(array: Array, axis: int) -> Array:
    """W[N, K] of what lies so that N runs along `axis`."""
    return array.T if axis else array


def quantize_e0m4(model: ir.Model) -> int:
    """Turn matrices into coded tensors, made when they are packed; return how many."""
    if model.metadata_props.get("pocket.weights") != "e0m4":
        return 0
    group = int(model.metadata_props.get("pocket.group", "32"))
    symmetric = model.metadata_props.get("pocket.symmetric") == "True"
    matrices = list(find_matrices(model))
    kept = _kept(matrices, json.loads(model.metadata_props.get("pocket.keep", "[]")))
    tied = _tied(matrices)
    made: dict[ir.Value, CodedWeight] = {}
    count = 0
    for matrix in matrices:
        if isinstance(matrix.tensor, CodedTensor):
            continue
        if matrix.value in kept:
            matrix.value.metadata_props[KEPT] = kept[matrix.value]
            continue
        first = tied.get(matrix.value, matrix)
        if first.value not in made:
            made[first.value] = _quantized(first, group, symmetric)
        name, dtype = matrix.value.name, matrix.tensor.dtype
        weight = made[first.value]
        matrix.value.const_value = CodedTensor(weight, dtype, matrix.transposed, name)
        count += 1
    return count


def find_matrices(model: ir.Model) -> Iterator[Matrix]:
    """Constant weights of matmuls and embeddings, each once."""
    seen: set[ir.Value] = set()
    logits = roles_of(model).logits
    for node in model.graph:
        matmul = node.op_type in ("MatMul", "Linear")
        embedding = node.op_type == "Gather" and attribute(node, "axis", 0) == 0
        value = operand(node, 1 if matmul else 0) if matmul or embedding else None
        if value is None or value in seen or not is_constant(value) or rank(value) != 2:
            continue
        if value.dtype is None or not value.dtype.is_floating_point():
            continue
        seen.add(value)
        head = any(output.name == logits for output in node.outputs)
        word = "embed" if embedding else "lm_head" if head else ""
        yield Matrix(value, node, word, matmul)


def _kept(matrices: list[Matrix], rules: list[str]) -> dict[ir.Value, str]:
    """Weights that stay float, by rules PATTERN=TYPE of which the last that fits holds."""
    kept: dict[ir.Value, str] = {}
    for rule in rules:
        pattern, _, dtype = rule.rpartition("=")
        found = [m for m in matrices if any(fnmatchcase(name, pattern) for name in m.names)]
        if not found:
            words = sorted({m.word for m in matrices} - {""})
            words += [m.value.name or "" for m in matrices if not m.word]
            raise GraphError(
                f"--keep {rule} fits no weight of this model",
                f"there are {', '.join(words[:8])}{' …' if words[8:] else ''}",
                "name a weight or its node; * stands for any text (--keep '*down_proj*=f16')",
            )
        if all(isinstance(m.tensor, CodedTensor) for m in found):
            raise GraphError(
                f"--keep {rule} fits no weight that is in floats",
                "those it names came quantised, and codes of a source are kept",
                "leave it out; --weights f16 stores all of the model as floats",
            )
        kept |= {m.value: dtype for m in found}
    return kept


def _gamma(matrix: Matrix) -> Array | None:
    """The scale of the norm that a matmul reads from."""
    if not matrix.transposed:
        return None
    source = through(operand(matrix.node, 0), "LastRows", "Reshape")
    norm = None if source is None else source.producer()
    if norm is None or norm.op_type not in ("RmsNorm", "AddRmsNorm"):
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


def _quantized(matrix: Matrix, group: int, symmetric: bool) -> CodedWeight:
    """The weight in codes, made by rows when somebody asks for them."""
    tensor, axis, name = matrix.tensor, int(matrix.transposed), matrix.value.name or ""
    gamma = _gamma(matrix)
    importance = None if gamma is None else gamma.astype("float32") ** 2
    if importance is not None and not np.isfinite(importance).all():
        because = "the norm before it scales by NaN, infinity, or more than float32 can square"
        raise GraphError(f"{name} cannot be stored in 4 bits", because, "check the model's file")

    def floats(first: int, stop: int) -> Array:
        return _upright(part(tensor, axis, first, stop), axis)

    def make(first: int, stop: int) -> Coded:
        try:
            return quantize(floats(first, stop), group, importance, symmetric)
        except Unquantizable as error:
            keep = f"--keep '{matrix.word or name}=f32' leaves it as it is"
            hint = "export it again" if isinstance(error, NotFinite) else keep
            raise GraphError(f"{name} cannot be stored in 4 bits", str(error), hint) from None

    zero = None if symmetric else "u8"
    return CodedWeight(*matrix.sizes, BITS, group, "f16", zero, make, floats)
