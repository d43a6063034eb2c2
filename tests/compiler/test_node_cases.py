"""ONNX's own test cases of single nodes: computed right, or refused with a reason."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.backend.test.case.node import collect_testcases
from small_graphs import Refused, SmallGraphs, compare

from onnx_passes.fold_constants import fold_constants
from onnx_passes.inline_bodies import inline_bodies
from onnx_passes.ir.graph import COUNTERS
from onnx_passes.ir.infer import infer
from onnx_passes.resolve_shapes import resolve_shapes
from onnx_passes.split_variadic import split_variadic
from onnx_passes.unbundle import unbundle
from toolkit.compiler.lowering.values import TYPES

pytestmark = pytest.mark.slow
PASSES = (unbundle, split_variadic, fold_constants, resolve_shapes, inline_bodies)
KINDS = {int(dtype) for dtype in TYPES if dtype.short_name() in ("f32", "i64", "i32", "b8")}
# Ops whose further inputs say what becomes of the first: exporters write constants there.
SIZED = (
    *("Reshape", "Slice", "Expand", "Tile", "Pad", "Squeeze", "Unsqueeze", "Split", "Trilu"),
    *("CenterCropPad", "Upsample", "Resize", "OneHot"),
)
MADE = ("ConstantOfShape", "Range")


@cache
def cases() -> dict[str, Any]:
    """Those over types that have kernels. ONNX computes all of them anew, for ten seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = collect_testcases(None)
    kept = {}
    for case in found:
        graph = case.model.graph
        plain = all(not node.domain and not _has_graph(node) for node in graph.node)
        values = [*graph.input, *graph.output]
        if (
            plain
            and "_expanded" not in case.name
            and all(v.type.tensor_type.elem_type in KINDS for v in values)
        ):
            _rename_counters(graph)
            kept[case.name] = case
    return kept


def _rename_counters(graph: onnx.GraphProto) -> None:
    """Range calls an input `start`, which is a counter to us."""
    for value in graph.input:
        if value.name in COUNTERS:
            for node in graph.node:
                node.input[:] = [f"{n}_" if n == value.name else n for n in node.input]
            value.name += "_"


def _has_graph(node: onnx.NodeProto) -> bool:
    return any(a.type == onnx.AttributeProto.GRAPH for a in node.attribute)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test for each case; where slow tests are left out, not even their names are needed."""
    if "name" in metafunc.fixturenames:
        left_out = "not slow" in metafunc.config.getoption("markexpr")
        metafunc.parametrize("name", () if left_out else cases())


def model_of(case: Any) -> ir.Model:
    """The model, with constants where exporters write them."""
    proto = onnx.ModelProto()
    proto.CopyFrom(case.model)
    (inputs, _), (node, *_) = case.data_sets[0], proto.graph.node
    for index, (value, array) in enumerate(zip(list(proto.graph.input), inputs, strict=True)):
        reduces = node.op_type.startswith("Reduce")
        if node.op_type in MADE or (index and (reduces or node.op_type in SIZED)):
            proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
            proto.graph.input.remove(value)
    model = ir.from_proto(proto)
    infer(model)
    return model


@pytest.fixture(scope="module")
def lowered(request: pytest.FixtureRequest) -> Iterator[SmallGraphs]:
    """The cases that tests were asked for; all of them for the test that counts."""
    items = [item for item in request.session.items if item.path == request.path]
    asked = {item.callspec.params["name"] for item in items if hasattr(item, "callspec")}
    names = cases() if any(not hasattr(item, "callspec") for item in items) else asked
    sources = {name: partial(model_of, cases()[name]) for name in names}
    graphs = SmallGraphs(sources, PASSES)
    yield graphs
    graphs.close()


def test_case(lowered: SmallGraphs, name: str) -> None:
    case = cases()[name]
    inputs, outputs = case.data_sets[0]
    names = [value.name for value in case.model.graph.input]
    feeds = dict(zip(names, map(np.asarray, inputs), strict=True))
    try:
        found = lowered.run(name, {"seq": 1, "past": 0, "rows": 1}, feeds)
    except Refused as refused:
        pytest.skip(str(refused))
    outputs = [outputs] if isinstance(outputs, np.ndarray) else outputs  # Range's are no list
    for wanted, actual in zip(outputs, found, strict=True):
        compare(np.asarray(wanted), actual)


def test_two_of_three_have_kernels(lowered: SmallGraphs) -> None:
    """So that a case that is refused above is one that was refused before."""
    refused = {name for name, fault in lowered.faults.items() if isinstance(fault, Refused)}
    assert set(lowered.faults) == refused and len(cases()) - len(refused) >= 658
