"""Adds adapters to the weights of a graph, before anything is rewritten.

Which weight a module has, the names of the exporter's nodes say: what a product does with it tells
how it lies, whether the framework stored it transposed (`fan_in_fan_out`) or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from onnx_passes.ir.graph import attribute, is_op
from onnx_passes.weights.lazy import Lazy, part
from opencl_kernels.formats import Array
from toolkit.compiler.adapters.peft import Adapter, adapters_of
from toolkit.errors import PocketError

PRODUCTS = ("MatMul", "Gemm", "MatMulNBits")
SCOPES = "pkg.torch.onnx.name_scopes"  # of torch's exporter: a node's modules, outermost first
OWN = re.compile(r"(\.(MatMul|Gemm|weight)[^.]*)+$")  # behind the module's name
ALIASES = ((".self_attn.", ".attn."),)  # GenAI's exporter shortens it


@dataclass(frozen=True)
class Product:
    """A product with a weight [K, N], or [N, K] where it is `transposed`."""

    node: ir.Node
    weight: ir.Value
    transposed: bool


class Adapted(Lazy):
    """A weight with an adapter's product added to it."""

    def __init__(self, source: ir.TensorProtocol, left: Array, right: Array) -> None:
        """left f32 [rows, r], right f32 [r, columns]"""
        rows, columns = source.shape.numpy()
        super().__init__([source], source.dtype, (rows, columns), source.name or "")
        self._left, self._right = left, right

    def part(self, axis: int, first: int, stop: int) -> Array:
        """Elements [first, stop) along `axis`."""
        left = self._left[first:stop] if axis == 0 else self._left
        right = self._right if axis == 0 else self._right[:, first:stop]
        found = part(self.sources[0], axis, first, stop)
        return np.asarray((found.astype(np.float32) + left @ right).astype(found.dtype))


def merge(model: ir.Model, folder: Path) -> None:
    """Add all adapters of a folder. Raises PocketError where names or sizes don't fit."""
    products = dict(_products(model.graph))
    for adapter in adapters_of(folder):
        _add(adapter, _found(adapter, products, folder), folder)


def _add(adapter: Adapter, product: Product, folder: Path) -> None:
    tensor = product.weight.const_value
    assert tensor is not None
    left, right = adapter.scale * adapter.A.T, adapter.B.T  # [K, r], [r, N]
    if product.transposed:
        left, right = right.T, left.T
    sizes = len(left), right.shape[1]
    if tuple(tensor.shape.numpy()) != sizes:
        has, wanted = tuple(tensor.shape.numpy()), sizes
        because = (
            f"the weight has {has[0]} x {has[1]} numbers, the adapter {wanted[0]} x {wanted[1]}"
        )
        hint = "use the adapter of this model"
        raise PocketError(f"{adapter.module} of {folder} doesn't fit", because, hint)
    product.weight.const_value = Adapted(tensor, left.astype(np.float32), right)


def _found(adapter: Adapter, products: dict[str, Product], folder: Path) -> Product:
    """The product of a module: by its name, as far as both have one."""
    module = _plain(adapter.module)
    fitting = [each for name, each in products.items() if _same(name, module)]
    what = f"{adapter.module} of {folder} is not in the model"
    if not fitting:
        because = f"no product is called so; there is {next(iter(products), 'none')}"
        hint = "use the adapter of this model, and an export that keeps modules apart"
        raise PocketError(what, because, hint)
    product = fitting[0]
    if len({each.weight for each in fitting}) > 1:
        because = f"{len(fitting)} products could be meant"
        raise PocketError(what, because, "merge it in PEFT, and export the model again")
    tensor = product.weight.const_value
    if tensor is None or not tensor.dtype.is_floating_point() or len(tensor.shape) != 2:
        because = f"the weight of {product.node.name} is in codes, or computed"
        hint = "give the float export of the model; --weights e0m4 quantises it afterwards"
        raise PocketError(f"{adapter.module} of {folder} can't be added", because, hint)
    if len(product.weight.uses()) > 1:
        because = f"{len(product.weight.uses())} nodes share its weight"
        raise PocketError(what, because, "merge it in PEFT, and export the model again")
    return product


def _same(name: str, module: str) -> bool:
    """Whether one of two dotted names is the end of the other."""
    return f".{name}".endswith(f".{module}") or f".{module}".endswith(f".{name}")


def _products(graph: Iterable[ir.Node]) -> Iterator[tuple[str, Product]]:
    for node in graph:
        if node.op_type not in PRODUCTS or node.inputs[1] is None:
            continue
        weight, turned = node.inputs[1], bool(attribute(node, "transB", 0))
        maker = weight.producer()
        if maker is not None and is_op(maker, "Transpose") and maker.inputs[0] is not None:
            weight, turned = maker.inputs[0], not turned
        if weight.producer() is None or node.op_type == "MatMul":
            for name in _names(node, weight):
                yield name, Product(node, weight, turned)


def _names(node: ir.Node, weight: ir.Value) -> Iterator[str]:
    """What a product's module may be called."""
    scopes = node.metadata_props.get(SCOPES, "").strip("[]").replace("'", "").split(", ")
    dotted = (node.name or "").strip("/").replace("/", "."), weight.name or "", *scopes[-2:-1]
    yield from dict.fromkeys(_plain(OWN.sub("", each)) for each in dotted if "." in each)


def _plain(name: str) -> str:
    for long, short in ALIASES:
        name = name.replace(long, short)
    return name
