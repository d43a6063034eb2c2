"""Inference never says what isn't so, whatever is known of inputs: ONNX's own test cases."""

import warnings
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
import pytest
from onnx.backend.test.case.node import TestCase, collect_testcases
from pass_helpers import text

from onnx_passes.ir.dims import as_expr, symbolic_value
from onnx_passes.ir.infer import infer

KNOWLEDGE = ("all shapes", "no shape", "names", "not the first")


@pytest.fixture(scope="module")
def cases() -> list[TestCase]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making their data divides by zero
        return [case for case in collect_testcases(None) if case.model and case.data_sets]


def given(case: TestCase, knowledge: str) -> tuple[ir.Model, dict[str, int]]:
    """The case's model with so much known of its inputs' shapes, and what the names stand for.

    Small vectors of integers are constants, as in models of exporters.
    """
    model, names = ir.from_proto(case.model), dict[str, int]()
    arrays = case.data_sets[0][0]
    for index, (value, array) in enumerate(zip(list(model.graph.inputs), arrays, strict=False)):
        value.shape = None
        if not isinstance(array, np.ndarray) or knowledge == "no shape":
            pass
        elif knowledge == "names":
            own = {f"{value.name}_{axis}": size for axis, size in enumerate(array.shape)}
            value.shape, names = ir.Shape([*own]), names | own
        elif index or knowledge == "all shapes":
            value.shape = ir.Shape(array.shape)
        if isinstance(array, np.ndarray) and index and array.dtype == np.int64 and array.size <= 8:
            value.shape, value.const_value = ir.Shape(array.shape), ir.tensor(array)
            model.graph.inputs.remove(value)
            model.graph.register_initializer(value)
    return model, names


def faults(model: ir.Model, answers: list[np.ndarray], names: dict[str, int]) -> Iterator[str]:
    """What is said of the outputs that isn't so."""
    for value, answer in zip(model.graph.outputs, answers, strict=False):
        if not isinstance(answer, np.ndarray):
            continue
        sizes = None if value.shape is None else [*value.shape]
        if sizes is not None and len(sizes) != answer.ndim:
            yield f"{value.name}: rank of {value.shape}, in truth {answer.shape}"
        said = [as_expr(d) for d in sizes or () if isinstance(d, int) or d.value is not None]
        true = dict(zip(said, answer.shape, strict=True)) if len(said) == answer.ndim else {}
        elements = symbolic_value(value) or []
        true |= dict(zip(elements, answer.reshape(-1), strict=False))
        for expr, number in true.items():
            known = all(s.name in names for s in expr.free_symbols)
            if known and expr.subs({s: names[s.name] for s in expr.free_symbols}) != number:
                yield f"{value.name}: {expr}, in truth {number}"


@pytest.mark.slow
@pytest.mark.parametrize("knowledge", KNOWLEDGE)
def test_nothing_is_inferred_that_is_not_so(cases: list[TestCase], knowledge: str) -> None:
    wrong = []
    for case in cases:
        model, names = given(case, knowledge)
        infer(model)
        wrong += [f"{case.name}: {f}" for f in faults(model, case.data_sets[0][1], names)]
    assert not wrong, "\n".join(wrong)


HEAD = """<ir_version: 10, opset_import: ["": 18]>
g (float[seq, T] x, float[past, T] z, int64[n] ids) => (float[a, b] y)
<int64[1] zero = {0}, int64[1] one = {1}, int64[1] nine = {9}, int64[1] back = {-1},
 int64[1] far = {9223372036854775807}, int64[1] two = {2}, float[1, 9] row> { %s }"""


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Slice(x, zero, nine, zero)", "[Min(9, seq),T]"),  # it may have fewer
        ("y = Slice(x, one, far, zero)", "[Max(0, seq - 1),T]"),
        ("y = Slice(x, back, far, zero)", "[Max(0, seq - Max(0, seq - 1)),T]"),
        ("y = Slice(x, zero, far, zero, two)", "[ceiling(seq/2),T]"),
        ("y = Slice(x, zero, far, zero, back)", "[_d0,T]"),
        ("y = Slice(x, ids, ids, zero)", "[_d0,_d1]"),  # not even how many axes
        ("y = Add(x, z)", "[_d0,T]"),  # equal, or one of them 1
        ("y = Add(x, row)", "[seq,9]"),
        ("y = Expand(x, ids)", None),
        ("s = Shape(z)  y = ConstantOfShape(s)", "[past,T]"),
        ("u = Reshape(x, ids)  y = Expand(u, two)", None),  # what is expanded has no shape
    ],
)
def test_what_is_unknown_stays_unknown(body: str, expected: str | None) -> None:
    model = text(HEAD % body)
    infer(model)
    shape = model.graph[-1].outputs[0].shape
    assert (None if shape is None else str(shape).replace("'", "")) == expected
