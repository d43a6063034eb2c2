"""Every function of elements as C computes it, special values included, against ONNX."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx.reference import ReferenceEvaluator

from opencl_kernels import FAMILIES
from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.launch import launch
from opencl_kernels.map.functions import ANY, BOOL, FLOAT, INT, SCALAR_OPS
from opencl_kernels.map.map import Map, Operand
from opencl_kernels.tuned import default_knobs

SPECIAL = {
    FLOAT: (0.0, -0.0, 1.0, -1.0, 0.3, -2.7, 60.0, -60.0, 2.5, np.inf, -np.inf, np.nan),
    INT: (-7, -1, 1, 2, 3, 5_000_000_000),
    BOOL: (False, True),
}
STORED = {FLOAT: "f32", INT: "i64", BOOL: "u8"}
OURS = {"Float", "Int", "Int32", "Bool", "Fmod", "Within"}  # names that ONNX does not have
PLACES = [(name, kind) for name, op in SCALAR_OPS.items() for kind in op.operands]


def operands(op_type: str, kind: str) -> list[Array]:
    """Every special value of the kind with every other, for each operand of the op."""
    kinds = [kind] * SCALAR_OPS[op_type].arity
    if op_type == "Where":
        kinds[0] = BOOL
    columns = zip(*product(*(SPECIAL[each] for each in kinds)), strict=True)
    dtypes = {FLOAT: np.float32, INT: np.int64, BOOL: np.bool_}
    return [np.array(c, dtypes[k]) for c, k in zip(columns, kinds, strict=True)]


def reference(op_type: str, inputs: list[Array]) -> Array:
    names = [f"x{i}" for i in range(len(inputs))]
    types = [helper.np_dtype_to_tensor_dtype(each.dtype) for each in inputs]
    given = [helper.make_tensor_value_info(n, t, [None]) for n, t in zip(names, types, strict=True)]
    y = helper.make_tensor_value_info("y", types[-1], [None])
    graph = helper.make_graph([helper.make_node(op_type, names, ["y"])], "one", given, [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    (found,) = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))
    return np.asarray(found)


def launched(queue: Any, case: Map, inputs: list[Array]) -> Array:
    family = FAMILIES["map"]
    (kernel,) = family.kernels
    given = {
        f"a{i}": array.astype(DTYPES[operand.dtype])
        for i, (array, operand) in enumerate(zip(inputs, case.inputs, strict=True))
    }
    outputs = launch(queue, family, kernel, given, case, default_knobs(kernel, "cpu"))[0]["y"]
    with np.errstate(over="ignore"):
        ours = family.reference(given, case)["y"].astype(np.float32)
    np.testing.assert_allclose(outputs.astype(np.float32), ours, rtol=1e-6, atol=1e-7)
    return outputs


def case_of(op_type: str, kind: str, inputs: list[Array]) -> Map:
    count = len(inputs[0])
    stored = {"b": "u8", "i": "i64", "f": "f32"}
    held = tuple(Operand(stored[each.dtype.kind], count) for each in inputs)
    value = f"{op_type}({', '.join(f'a{i}[i0]' for i in range(len(inputs)))})"
    result = SCALAR_OPS[op_type].result or kind
    return Map(axes=(count,), value=value, inputs=held, y=STORED[result])


@pytest.mark.parametrize(("op_type", "kind"), PLACES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_function_equals_the_reference_of_onnx(queue: Any, op_type: str, kind: str) -> None:
    inputs = operands(op_type, kind)
    if op_type in OURS:
        inputs = [each[np.isfinite(each) & (np.abs(each) < 1e9)] for each in inputs[:1]] * len(
            inputs
        )
    if op_type == "Within":
        inputs[1] = np.full_like(inputs[1], 4)
    outputs = launched(queue, case_of(op_type, kind, inputs), inputs)
    if op_type not in OURS:
        np.testing.assert_allclose(outputs, reference(op_type, inputs), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("number", [0.1, -3.0, 1e-40, np.inf, -np.inf, np.nan, 1e300])
def test_constant_is_what_it_says(queue: Any, number: float) -> None:
    text = repr(number).replace("np.float64", "")
    outputs = launched(queue, Map(axes=(3,), value=f"Identity({text})"), [])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(outputs, np.full(3, number, np.float32))


BAD = (
    *("a0[i0] + 1", "Neg(a0[i0], a0[i0])", "Gelu(a0[i0])", "a2[i0]", "a0[0.5]", "t0", "b", "__x"),
    *("a0[i0].real", "(lambda: 1)()", "a0[i0] // a1[i0]", "[1]", "a0[i0] < 1 < 2", "a0[i0"),
    *("Where(1.0, 1.0, 2.0)", "And(a0[i0], a1[i0])", "Exp(i0)", "'x'", "i0 ** 2", "Max(1, 2.0)"),
)


@pytest.mark.parametrize("text", BAD)
def test_what_nothing_computes_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Map(axes=(3,), value=text, inputs=(Operand("f32", 3), Operand("f32", 3)))


def test_every_kind_is_known() -> None:
    assert all(set(op.operands) <= set(ANY) for op in SCALAR_OPS.values())
