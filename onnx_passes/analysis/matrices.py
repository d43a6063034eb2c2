"""The matrices of a model: constant weights of products and embeddings, and their names."""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.graph import attribute, is_constant, is_op, operand, rank
from onnx_passes.weights.lazy import names_of, part
from opencl_kernels.formats import Array

KEPT = "pocket.storage"  # metadata of a weight that stays float: "f16" or "f32"


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
        return rows_of(self.tensor, self.transposed, first, stop)


def rows_of(tensor: ir.TensorProtocol, transposed: bool, first: int, stop: int) -> Array:
    """Rows [first, stop) of W[N, K], which lies as [K, N] if `transposed`."""
    return part(tensor, 1, first, stop).T if transposed else part(tensor, 0, first, stop)


def find_matrices(model: ir.Model) -> Iterator[Matrix]:
    """Constant weights of products and embeddings, each once; those of experts are one."""
    seen: set[ir.Value] = set()
    logits = roles_of(model).logits
    for node in model.graph:
        matmul = is_op(node, "MatMul", "Linear", "Experts")
        embedding = is_op(node, "Gather") and attribute(node, "axis", 0) == 0
        value = operand(node, 1 if matmul else 0) if matmul or embedding else None
        if value is None or value in seen or not is_constant(value) or rank(value) != 2:
            continue
        if value.dtype is None or not value.dtype.is_floating_point():
            continue
        seen.add(value)
        head = any(output.name == logits for output in node.outputs)
        word = "embed" if embedding else "lm_head" if head else ""
        yield Matrix(value, node, word, matmul)
