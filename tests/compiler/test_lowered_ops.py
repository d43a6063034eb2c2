"""Every op that lowers by itself, as a graph of its own: against ONNX Runtime, on both classes.

The graphs stand in lowered_ops/*.txt, each below its name; inlined_N.txt is written in opset N and
holds what passes write out in simpler ops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from small_graphs import SmallGraphs, graph

from onnx_passes.fold_constants import fold_constants
from onnx_passes.fuse_rmsnorm import fuse_rmsnorm
from onnx_passes.inline_bodies import inline_bodies
from onnx_passes.ir.ops import definitions
from onnx_passes.plain_ops import plain_ops
from onnx_passes.resolve_shapes import resolve_shapes
from onnx_passes.split_variadic import split_variadic
from onnx_passes.unbundle import unbundle
from opencl_kernels.device_class import CLASSES
from opencl_kernels.formats import Array
from toolkit.compiler.lowering.table import unsupported

FILES = sorted(Path(__file__).parent.glob("lowered_ops/*.txt"))
# Both classes run one kernel, with other sizes of work-groups; or, of `products` and `rows`, those
# of generic that test_kernels.py has.
SLOW = ("large", "movement", "elements", "inlined_18", "inlined_24", "products", "rows")


def graphs_of(text: str) -> dict[str, str]:
    """Name and graph of each block of a file."""
    blocks = (block.strip().split("\n", 1) for block in re.split(r"\n(?=# )", text))
    return {name.removeprefix("# "): body for name, body in blocks}


def joined(form: str, count: int, between: str = " ") -> str:
    """A form with %d for each number below a count."""
    return between.join(form.replace("%d", str(i)) for i in range(count))


FLOAT_UNARY = (
    *("Neg", "Abs", "Sign", "Exp", "Sqrt", "Log", "Reciprocal", "Sigmoid", "Tanh", "Relu", "Erf"),
    *("Floor", "Ceil", "Round", "Sin", "Cos", "Tan", "Sinh", "Cosh", "Asin", "Acos", "Atan"),
    *("Asinh", "Acosh", "Atanh", "Softplus"),
)
LARGE = {
    "all of floats": f"(float[seq, 3] x) => ({', '.join(f'float y{op}' for op in FLOAT_UNARY)})"
    f"{{ {' '.join(f'y{op} = {op}(x)' for op in FLOAT_UNARY)} }}",
    "concat of many": "(float[seq, 3] x, float[seq, 1] z) => (float y)"
    f"{{ a = Neg(x) y = Concat<axis = 1>({', '.join(['x', 'z', 'a'] * 5)}) }}",
    "concat of many inputs": f"({joined('float[seq, 2] x%d', 11, ', ')}) => (float y)"
    f"{{ y = Concat<axis = 1>({joined('x%d', 11, ', ')}) }}",
    "many functions": "(float[seq, 3] x) => (float y) <float[3] w> { s0 = Add(x, w)"
    + " ".join(f"t{i} = Sin(s{i}) s{i + 1} = Add(t{i}, x)" for i in range(60))
    + " y = Identity(s60) }",
    "many operands": f"({joined('float[seq, 3] x%d', 20, ', ')}) => (float y)"
    "{ s0 = Identity(x0) "
    + " ".join(f"s{i + 1} = Add(s{i}, x{i + 1})" for i in range(19))
    + " y = Exp(s19) }",
    "squares of squares": "(float[seq, 3] x) => (float y) { s0 = Tanh(x)"
    + " ".join(f"s{i + 1} = Mul(s{i}, s{i})" for i in range(12))
    + " y = Identity(s12) }",
}
CASES = {"large": LARGE, **{file.stem: graphs_of(file.read_text()) for file in FILES}}
WRITTEN_OUT = (
    *(plain_ops, unbundle, split_variadic, fold_constants, resolve_shapes, fuse_rmsnorm),
    inline_bodies,
)
RUNS = (
    {"seq": 1, "past": 0, "rows": 1, "text_length": 0},
    {"seq": 7, "past": 5, "rows": 3, "text_length": 12},
    {"seq": 65, "past": 63, "rows": 64, "text_length": 130},
)


def cases() -> Iterator[Any]:
    for group, names in CASES.items():
        for name in names:
            for device_class in ("cpu", "generic"):
                slow = device_class == "generic" and group in SLOW
                marks = (pytest.mark.slow,) if slow else ()
                yield pytest.param(
                    device_class, group, name, id=f"{name}-{device_class}", marks=marks
                )


@pytest.fixture(scope="module")
def small(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The graphs of a class and group, as far as their tests were asked for."""
    items = [item for item in request.session.items if item.path == request.path]
    asked = [item.callspec.params for item in items if hasattr(item, "callspec")]
    made = dict[tuple[str, str], SmallGraphs]()

    def of(device_class: str, group: str) -> SmallGraphs:
        key = device_class, group
        if key not in made:
            chosen = [p["name"] for p in asked if (p.get("device_class"), p.get("group")) == key]
            sources = {name: CASES[group][name] for name in chosen}
            stem, _, opset = group.partition("_")
            passes = WRITTEN_OUT if stem == "inlined" else (inline_bodies,)
            settings = {"opset": int(opset or 18), "device_class": CLASSES[device_class]}
            made[key] = SmallGraphs(sources, passes, **settings)
        return made[key]

    yield of
    for each in made.values():
        each.close()


def fill(value: ir.Value, shape: tuple[int, ...]) -> Array | None:
    """Indices reach from either end of an axis of 5."""
    if value.name in ("indices", "chosen"):
        return np.random.default_rng(1).integers(-5, 5, shape)
    return None


@pytest.mark.parametrize("device_class, group, name", [*cases()])
def test_op(small: Any, device_class: str, group: str, name: str) -> None:
    small(device_class, group).check(name, RUNS[:1] if group == "token" else RUNS, fill)


REFUSED = {
    "(uint8[4] x) => (uint8 y) { y = Add(x, x) }": "x is of type uint8",
    "(float[4] x) => (int8 y) { y = Cast<to = 3>(x) }": "y is of type int8",
    "(double[4] x) => (double y) { y = Transpose(x) }": "x is of type double",
    "(uint16[4] x) => (uint16 y) { y = Identity(x) }": "x is of type uint16",
    "(int64[4, 3] x, int64[3, 2] z) => (int64 y) { y = MatMul(x, z) }": "only floats",
    "(int64[4] x) => (int64 y) <int64 e = {9}> { y = Pow(x, e) }": "only powers 1 to 8",
    "(float[4, 4] x, int64 k) => (float y) { y = Trilu(x, k) }": "its diagonal is computed",
    "(float[4] x, int64[1] b, int64[1] e) => (float y) { y = Slice(x, b, e) }": "on the data",
    "(float[4] x, int64[2] p) => (float y) { y = Pad(x, p) }": "on the data",
    "(float[4] x) => (float y) { y = Hardmax(x) }": "no kernel computes this op",
}


@pytest.mark.parametrize("source", REFUSED)
def test_what_is_refused_says_why(source: str) -> None:
    (node,) = graph(source, 20).graph
    assert REFUSED[source] in (unsupported(node, "") or "")


# What masks by magnitude is computed with the network that it masks: test_channels.py has that.
TOP = "the network's matrices are not all in codes of 4 bits, or all in halves"
ALONE = {
    "(float[1, seq, 7] x) => (float y) { y = pocket.TopMask<k = 2>(x) }": TOP,
    "(float[1, seq, 7] x) => (float y) <float[7] c>"
    "{ y = pocket.TopMask:cached<k = 2, gamma = 0.5>(x, c) }": TOP,
    "(float[1, seq, 7] x) => (float y) { y = pocket.GreatestMask<k = 2>(x, x) }": (
        "no kernel computes this op"
    ),
}


@pytest.mark.parametrize("source", ALONE)
def test_what_only_a_network_has_is_refused_alone(source: str) -> None:
    fault = SmallGraphs({"alone": source}).faults["alone"]
    assert ALONE[source] in getattr(fault, "because", str(fault))


def test_every_op_of_ours_is_tried() -> None:
    tried = [body for group in ("pocket", "token") for body in CASES[group].values()]
    text = " ".join([*tried, *ALONE])
    found = {tuple(each) for each in re.findall(r"pocket\.(\w+)(?::(\w+))?", text)}
    assert found == {(each.name, each.overload) for each in definitions()}


def test_names_are_given_once() -> None:
    names = [name for group in CASES.values() for name in group]
    assert len(set(names)) == len(names)
