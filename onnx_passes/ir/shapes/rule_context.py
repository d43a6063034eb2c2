"""What a rule of shape inference sees of the inference, and of the elements of shapes."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

import onnx_ir as ir

from onnx_passes.ir.dims import SMALL, Dim
from onnx_passes.ir.graph import integers, operand

Elements = list[Dim]
# Tokens that a text has at most: past + seq never exceeds it. None before there are such symbols.
CONTEXT: ContextVar[int | None] = ContextVar("context", default=None)


class Context(Protocol):
    """What rules use of the inference's context (its own class comes without type information)."""

    def set_shape_and_dtype(
        self, value: ir.Value, shape: ir.Shape | None, dtype: ir.DataType | None
    ) -> bool:
        """Note both of a value, where given."""

    def new_symbolic_dim(self) -> ir.SymbolicDim:
        """A size that is unknown, with a name of its own."""

    def get_symbolic_value(self, value: ir.Value) -> Elements | None:
        """The elements of a shape, as far as they are known."""

    def set_symbolic_value(self, value: ir.Value, data: Elements) -> None:
        """Note the elements of a shape."""


Rule = Callable[[Context, ir.Node], None]


def elements(context: Context, node: ir.Node, index: int) -> Elements | None:
    """Symbolic elements of an input, constants included."""
    value = operand(node, index)
    if value is None:
        return None
    tensor = ir.convenience.get_const_tensor(value)
    numbers = integers(value) if tensor is not None and tensor.size < SMALL else None
    return context.get_symbolic_value(value) if numbers is None else [*numbers]
