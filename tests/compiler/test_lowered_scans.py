"""Top-k, arg-max, prefix sums, scattered updates and whole reductions, against ONNX Runtime."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import run, text

from onnx_passes.ir.dims import as_expr
from onnx_passes.ir.infer import infer
from opencl_kernels import FAMILIES, Family
from opencl_kernels.case import At, Case, symbols_of_texts
from opencl_kernels.device_class import CLASSES
from opencl_kernels.family import kernels_for
from opencl_kernels.formats import DTYPES, Array
from opencl_kernels.launch import GUARD, launch
from opencl_kernels.tuned import default_knobs
from toolkit.compiler.lowering.builder import Location, PhaseBuilder
from toolkit.compiler.lowering.table import JOINING, lower_nodes, unsupported
from toolkit.compiler.lowering.values import TYPES, stored
from toolkit.compiler.lowering.variants import Programs, Settings
from toolkit.compiler.weights.table import WeightTable
from toolkit.plan.schema import Buffer, Ref

HEAD = '<ir_version: 10, opset_import: ["": %d]> graph '
TOP = {
    "top": "(float[3, seq, 9] x, int64[1] k) => (float v, int64 i) <int64[1] k = {4}>"
    " { v, i = TopK(x, k) }",
    "least of an axis": "(float[3, 5, seq] x) => (float v, int64 i) <int64[1] k = {3}>"
    " { v, i = TopK<axis = 1, largest = 0>(x, k) }",
    "all of an axis": "(int64[5, seq] x) => (int64 v, int64 i) <int64[1] k = {5}>"
    " { v, i = TopK<axis = 0>(x, k) }",
    "one of many": "(float[3, seq] x) => (float v, int64 i) <int64[1] k = {1}>"
    " { v, i = TopK(x, k) }",
    "a router": """(float[seq, 7] x) => (float w, int64 i) <float[7] b, int64[1] k = {3},
      int64[1] last = {-1}> { s = Add(x, b) p = Softmax(s) v, i = TopK(p, k)
      t = ReduceSum(v, last) w = Div(v, t) }""",
    "what is computed": """(float[seq, 7] x) => (float v, int64 i) <int64[1] k = {2}>
      { e = Sigmoid(x) t = Transpose(e) v, i = TopK<axis = 0>(t, k) }""",
    "greatest of ints": "(int32[3, seq] x) => (int64 y) { y = ArgMax<axis = 1, keepdims = 0>(x) }",
    "the last greatest": "(int64[3, 9, seq] x) => (int64 y)"
    " { y = ArgMax<axis = 1, select_last_index = 1>(x) }",
    "least": "(float[seq, 65] x) => (int64 y) { y = ArgMin<axis = -1>(x) }",
    "the last least": "(int64[seq, 5] x) => (int64 y)"
    " { y = ArgMin<axis = 0, keepdims = 0, select_last_index = 1>(x) }",
}
SCANS = {
    "sum": "(float[3, seq, 5] x) => (float y) <int64 a = {1}> { y = CumSum(x, a) }",
    "exclusive": "(float[seq, 5] x) => (float y) <int64 a = {-1}>"
    " { y = CumSum<exclusive = 1>(x, a) }",
    "reverse": "(float[5, seq] x) => (float y) <int64 a = {0}> { y = CumSum<reverse = 1>(x, a) }",
    "both": "(int64[3, seq] x) => (int64 y) <int64[1] a = {1}>"
    " { y = CumSum<reverse = 1, exclusive = 1>(x, a) }",
    "positions": """(int64[2, seq] x) => (int64 y) <int64 a = {1}, int64 one = {1}, int64 z = {0}>
      { m = Equal(x, z) c = Cast<to = 7>(m) s = CumSum(c, a) p = Sub(s, one) y = Mul(p, c) }""",
}
SCATTERS = {
    "elements": "(float[9, seq] x, int64[3, seq] at0, float[3, seq] u) => (float y)"
    " { y = ScatterElements(x, at0, u) }",
    "chosen experts": """(float[seq, 7] x) => (float y) <int64[1] k = {3}, float zero = {0.0}>
      { v, i = TopK(x, k) s = Shape(x) z = ConstantOfShape(s)
        y = ScatterElements<axis = 1>(z, i, v) }""",
    "part of the other axes": "(float[7, 9, seq] x, int64[5, 4, 1] at1, float[5, 4, 1] u) =>"
    " (float y) { y = ScatterElements<axis = 1>(x, at1, u) }",
    **{
        f"{how} of {t}": f"({t}[5, seq] x, int64[23, seq] at, {t}[23, seq] u) => ({t} y)"
        f' {{ y = ScatterElements<reduction = "{how}">(x, at, u) }}'
        for t in ("float", "int64")
        for how in ("add", "mul", "max", "min")
    },
    "index_add": """(float[7, seq] x, int64[11] at, float[11, seq] u) => (float y)
      <int64[1] last = {-1}> { c = Unsqueeze(at, last) s = Shape(u) e = Expand(c, s)
      y = ScatterElements<axis = 0, reduction = "add">(x, e, u) }""",
    "bool": "(bool[seq, 9] x, int64[seq, 4] at1, bool[seq, 4] u) => (bool y)"
    " { y = ScatterElements<axis = -1>(x, at1, u) }",
    "rows": "(float[9, seq] x, int64[4, 1] at0, float[4, seq] u) => (float y)"
    " { y = ScatterND(x, at0, u) }",
    "rows are added": "(float[9, 3, seq] x, int64[13, 1] at, float[13, 3, seq] u) => (float y)"
    ' { y = ScatterND<reduction = "add">(x, at, u) }',
    "elements are added": "(float[9, 5] x, int64[3, seq, 2] at, float[3, seq] u) => (float y)"
    ' { y = ScatterND<reduction = "add">(x, at, u) }',
    "one element": "(int32[9, 5] x, int64[2] at, int32 u) => (int32 y) { y = ScatterND(x, at, u) }",
    "int64 where computed": """(int64[9, seq] x, int64[4] at, int64[4, seq] u) => (int64 y)
      <int64 one = {1}, int64[1] last = {-1}> { a = Sub(at, one) b = Max(a, one)
      c = Unsqueeze(b, last) y = ScatterND<reduction = "max">(x, c, u) }""",
    "one hot": """(int64[seq, 3] at) => (float y) <int64 n = {9}, float[2] v = {-1.0, 2.0}>
      { y = OneHot(at, n, v) }""",
    "one hot beyond": """(int64[seq, 3] wide) => (int64 y) <int64[1] n = {5}, int64[2] v = {0, 1}>
      { y = OneHot<axis = 1>(wide, n, v) }""",
}
REDUCED = ("Sum", "Max", "Min", "Prod", "Mean", "SumSquare", "L1")
REDUCTIONS = {
    **{
        f"reduce {op.lower()} of {t}": f"""({t}[3, seq, 7] x) => ({t} a, {t} b, {t} c)
          <int64[1] last = {{-1}}, int64[2] two = {{0, 1}}>
          {{ a = Reduce{op}(x, last) b = Reduce{op}<keepdims = 0>(x, two)
             c = Reduce{op}<keepdims = 0>(x) }}"""
        for op in REDUCED
        for t in ("int64", "int32")
        if (op, t) != ("SumSquare", "int32") and op != "Prod"
    },
    "reduce prod of int64": "(int64[seq, 7] x) => (int64 a) <int64[1] last = {-1}>"
    " { a = ReduceProd(x, last) }",
    "how many": """(float[3, seq] x) => (int64 y) <float z = {0.5}, int64[1] a = {1}>
      { m = Greater(x, z) c = Cast<to = 7>(m) y = ReduceSum<keepdims = 0>(c, a) }""",
}
TRUTHS = {
    "reduce max of bool": "(bool[3, seq, 7] x) => (bool y) <int64[1] last = {-1}>"
    " { y = ReduceMax(x, last) }",
    "reduce min of bool": "(bool[7, seq] x) => (bool y) <int64[1] a = {0}>"
    " { y = ReduceMin<keepdims = 0>(x, a) }",
}
CASES = {**TOP, **SCANS, **SCATTERS, **REDUCTIONS}
ALL = """(float[seq, 9] x, int64[seq] at) => (float y, int64 n, int64 e)
  <int64[1] k = {3}, int64 a = {0}, int64[1] last = {-1}, float[5, 3] zeros>
  { v, i = TopK(x, k) r = Unsqueeze(at, last)
    y = ScatterND<reduction = "add">(zeros, r, v)
    o = CumSum(i, a) n = ReduceMax(o, last) e = ArgMin<axis = 1>(x) }"""
SIZES = ({"seq": 1}, {"seq": 7}, {"seq": 65})
Launch = Callable[[Family, dict[str, Array], Any], dict[str, Array]]


def model_of(source: str, opset: int = 18) -> ir.Model:
    model = text(HEAD % opset + source)
    infer(model)
    return model


def feeds_of(model: ir.Model, sizes: Mapping[str, int]) -> dict[str, Array]:
    """Random values; integers are few, so that some are equal. See `indices` for the others."""
    rng = np.random.default_rng([7, *sizes.values()])
    feeds = {}
    for value in model.graph.inputs:
        assert value.name and value.dtype is not None and value.shape is not None
        shape = [d if isinstance(d, int) else sizes[str(d)] for d in value.shape]
        floats = value.dtype.is_floating_point()
        array = rng.standard_normal(shape) if floats else rng.integers(-3, 4, shape)
        if value.name in INDICES:
            array = INDICES[value.name](rng, shape)
        feeds[value.name] = np.asarray(array).astype(value.dtype.numpy())
    return feeds


def unlike(axis: int) -> Callable[[np.random.Generator, list[int]], Array]:
    """Indices into 9 elements from both ends, none like another along an axis."""

    def made(rng: np.random.Generator, shape: list[int]) -> Array:
        nine = [9 if k == axis else size for k, size in enumerate(shape)]
        found = np.argsort(rng.random(nine), axis=axis).take(range(shape[axis]), axis)
        return found - 9 * rng.integers(0, 2, shape)

    return made


INDICES = {
    "at": lambda rng, shape: rng.integers(-5, 5, shape),
    "at0": unlike(0),
    "at1": unlike(1),
    "wide": lambda rng, shape: rng.integers(-9, 10, shape),
}


@dataclass
class Recorder(PhaseBuilder):
    """Keeps the cases of all dispatches, and what their arguments are."""

    launched: list[tuple[str, Case, Mapping[str, Ref]]] = field(default_factory=list)

    def emit(self, name: str, family_name: str, case: Any, refs: Mapping[str, Ref]) -> None:
        super().emit(name, family_name, case, refs)
        self.launched.append((family_name, case, refs))


class Lowered:
    """A graph's dispatches, run on arrays in place of the memory that they name."""

    def __init__(self, model: ir.Model, device_class: str) -> None:
        refused = [(n.op_type, why) for n in model.graph if (why := unsupported(n, ""))]
        assert not refused, refused
        self.inputs, outputs = list(model.graph.inputs), list(model.graph.outputs)
        model.graph.outputs.clear()
        buffers = list(map(buffer_of, self.inputs))
        self.builder = Recorder(
            name="one",
            settings=Settings(
                CLASSES[device_class], symbols_of_texts(1), 1, 64, "f32", "f32", 2, 32768
            ),
            weights=WeightTable(None),
            programs=Programs(),
            buffers=buffers,
            joining=JOINING,
            at={},
            box={"seq": (1, 70), "past": (0, 130), "rows": (1, 70)},
            locations={
                value: Location(("buffer", i), buffers[i].dtype)
                for i, value in enumerate(self.inputs)
            },
        )
        lower_nodes(model.graph, self.builder)
        self.results = [stored(self.builder, value).ref for value in outputs]

    def run(self, feeds: Mapping[str, Array], sizes: Mapping[str, int], how: Launch) -> list[Array]:
        """The outputs, flat."""
        memory: dict[Ref, Array] = {}
        for i, value in enumerate(self.inputs):
            memory["buffer", i] = feeds[value.name or ""].reshape(-1)
        for i, source in enumerate(self.builder.weights.sources):
            memory["weight", i] = np.concatenate([a.reshape(-1) for a in source.produce()])
        for family_name, case, refs in self.builder.launched:
            family, case = FAMILIES[family_name], replace(case, at=At(**sizes))
            arguments = {argument.name: argument for argument in family.arguments(case)}
            inputs = {
                name: memory[refs[name]].astype(DTYPES[argument.dtype])
                for name, argument in arguments.items()
                if argument.role != "out"
            }
            for name, array in how(family, inputs, case).items():
                memory[refs[name]] = array.astype(DTYPES[arguments[name].dtype])
        return [memory[ref] for ref in self.results]


def buffer_of(value: ir.Value) -> Buffer:
    assert value.dtype is not None
    shape = tuple(as_expr(d) for d in value.shape or ())
    return Buffer(value.name or "", "input", TYPES[value.dtype] or "f32", shape, 0)


def by_numpy(family: Family, inputs: dict[str, Array], case: Any) -> dict[str, Array]:
    return family.reference(inputs, case)


def check(source: str, how: Launch, device_class: str = "cpu", opset: int = 18) -> None:
    lowered = Lowered(model_of(source, opset), device_class)
    for sizes in SIZES:
        model = model_of(source, opset)
        feeds = feeds_of(model, sizes)
        found = lowered.run(feeds, sizes, how)
        for own, expected in zip(found, run(model, feeds), strict=True):
            own = own.reshape(expected.shape).astype(expected.dtype)
            np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_op(name: str) -> None:
    check(CASES[name], by_numpy)


@pytest.mark.parametrize("name", TRUTHS)
def test_reduction_of_truth_values(name: str) -> None:
    check(TRUTHS[name], by_numpy, opset=20)


@pytest.mark.parametrize("device_class", ["cpu", "generic"])
def test_on_a_device(queue: Any, device_class: str) -> None:
    """All kernels of a layer of experts that are chosen, and their tokens added up."""

    def launched(family: Family, inputs: dict[str, Array], case: Any) -> dict[str, Array]:
        (kernel,) = kernels_for(family, device_class, case)[:1]
        knobs = default_knobs(kernel, device_class)
        outputs, guard = launch(queue, family, kernel, inputs, case, knobs)
        assert (guard == GUARD).all()
        written = [a.name for a in family.arguments(case) if a.role in ("out", "inout")]
        return {name: outputs[name] for name in written}

    check(ALL, launched, device_class)


# --- what is refused -----------------------------------------------------------------------------

REFUSED = {
    "(float[seq, 9] x, int64[1] k) => (float y) { y, i = TopK(x, k) }": "its k is computed",
    "(float[seq] x, int64 a) => (float y) { y = CumSum(x, a) }": "its axis is computed",
    "(bool[seq] x, int64[3] at, bool[3] u) => (bool y)"
    ' { y = ScatterElements<reduction = "add">(x, at, u) }': "truth values are no numbers",
    "(double[seq] x) => (int64 y) { y = ArgMax(x) }": "x is of type double",
    "(int64[seq] x) => (int64 y) { y = ReduceL2(x) }": "it is not computed for whole numbers",
    "(float[seq] x) => (int64[1, n] y) { y = NonZero(x) }": "how many elements it gives depends",
}


@pytest.mark.parametrize("source", REFUSED)
def test_refused(source: str) -> None:
    reasons = [unsupported(node, "") or "" for node in model_of(source).graph]
    assert any(reason.startswith(REFUSED[source]) for reason in reasons), reasons
