"""Every elementwise op as C computes it, special values included, against ONNX's own reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from opencl_kernels import FAMILIES
from opencl_kernels.elementwise.elementwise import Chain, Operand
from opencl_kernels.elementwise.functions import SCALAR_OPS
from opencl_kernels.formats import Array
from opencl_kernels.launch import launch
from opencl_kernels.tuned import default_knobs

SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.3, -2.7, 60.0, -60.0, np.inf, -np.inf, np.nan)


def pairs() -> Array:
    """Every special value with every other, [2, n]."""
    return np.array(np.meshgrid(SPECIAL, SPECIAL), np.float32).reshape(2, -1)


def reference(op_type: str, inputs: Array) -> Array:
    names = [f"x{i}" for i in range(len(inputs))]
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in names]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])
    graph = helper.make_graph([helper.make_node(op_type, names, ["y"])], "one", given, [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    (found,) = ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))
    return np.asarray(found)


def launched(queue: Any, case: Chain, inputs: dict[str, Array]) -> dict[str, Array]:
    family = FAMILIES["elementwise"]
    (kernel,) = family.kernels
    return launch(queue, family, kernel, inputs, case, default_knobs(kernel, "cpu"))[0]


@pytest.mark.parametrize("op_type", SCALAR_OPS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_op_equals_the_reference_of_onnx(queue: Any, op_type: str) -> None:
    inputs = pairs()[: SCALAR_OPS[op_type].arity]
    given = {f"a{i}": column for i, column in enumerate(inputs)}
    steps, operands = (" ".join([op_type, *given]),), (Operand(),) * len(inputs)
    case = Chain(count=inputs.shape[1], steps=steps, inputs=operands)
    outputs = launched(queue, case, given)
    expected = reference(op_type, inputs)
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-6, atol=1e-7)
    ours = FAMILIES["elementwise"].reference(given, case)["y"].astype(np.float32)
    np.testing.assert_allclose(ours, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("number", [0.1, -3.0, 1e-40, np.inf, -np.inf, np.nan, 1e300])
def test_constant_is_what_it_says(queue: Any, number: float) -> None:
    outputs = launched(queue, Chain(count=3, steps=(f"Identity {number!r}",), inputs=()), {})
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(outputs["y"], np.full(3, number, np.float32))


@pytest.mark.parametrize(
    "step", ["Add a0", "Neg a0 a1", "Gelu a0", "Add a0 a2", "Add a0 t0", "Add a0 b", "Add a0 __x"]
)
def test_a_step_that_nothing_computes_is_refused(step: str) -> None:
    with pytest.raises(ValueError):
        Chain(count=3, steps=(step,), inputs=(Operand(), Operand()))
