"""A model in segments computes what it computes in one piece."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from exports import DEMO

from onnx_passes.analysis.roles import roles_of
from onnx_passes.ir.graph import DOMAIN
from toolkit.calibration.segments import Cut, Segments, fed
from toolkit.compiler.calibration.feeds import Feeds
from toolkit.compiler.calibration.reference import Reference
from toolkit.compiler.options import choose
from toolkit.compiler.rewriting.passes import rewrite_with
from toolkit.compiler.source import load_source, session_of
from toolkit.devices.resolve import resolve_device
from toolkit.onnx_runtime import numpy_type

LENGTHS = (1, 7, 33)


@pytest.fixture(scope="module")
def model() -> ir.Model:
    source = load_source(DEMO)
    return rewrite_with(source, choose(source, resolve_device(None, None), weights="f32"))


@pytest.fixture(scope="module")
def logits(model: ir.Model) -> ir.Value:
    return next(v for v in model.graph.outputs if v.name == roles_of(model).logits)


def cuts_of(model: ir.Model) -> list[Cut]:
    """From what a gated unit's first product reads to what its last one gives."""
    units = [node for node in model.graph if node.op_type == "Glu"]
    ends = [(unit.inputs[0], next(iter(unit.outputs[0].uses())).node) for unit in units]
    return [Cut(both.producer().inputs[0], down.outputs[0]) for both, down in ends]


def text(length: int) -> list[int]:
    return [int(i) for i in np.random.default_rng(length).integers(0, 1024, length)]


def started(model: ir.Model, names: set[str], ids: list[int]) -> dict[str, np.ndarray]:
    inputs = [v for v in model.graph.inputs if v.name in names]
    whole = session_of(model, "the model")
    types = {i.name: numpy_type(i.type) for i in whole.get_inputs()}
    shapes = {i.name: i.shape for i in whole.get_inputs()}
    feeds = Feeds.of(model, types, shapes)
    empty = {name: feeds.empty(name) for name in feeds.slots}
    return fed([str(v.name) for v in inputs], feeds.all(ids, 0, empty))


def of_cut(model: ir.Model, cut: Cut, x: np.ndarray) -> np.ndarray:
    piece = ir.convenience.extract(model.graph, [str(cut.x.name)], [str(cut.y.name)])
    piece.opset_imports.update({**model.opset_imports, DOMAIN: 1})
    session = session_of(ir.Model(piece, ir_version=10), "a unit")
    [y] = session.run(None, {cut.x.name: x})
    return np.asarray(y)


def test_segments_compute_the_logits(model: ir.Model, logits: ir.Value) -> None:
    cuts = cuts_of(model)
    assert len(cuts) == 5
    pieces, reference = Segments(model, cuts, logits), Reference.of(model)
    names = {name for s in pieces.segments for name in s.inputs}
    windows = [started(model, names & set(reference.feeds.inputs), text(n)) for n in LENGTHS]
    for level, segment in enumerate(pieces.segments):
        with pieces.opened(level) as run:
            for values in windows:
                run(values)
                assert not set(segment.last_uses) & set(values) - set(segment.outputs)
        for values in windows if level < len(cuts) else ():
            cut = cuts[level]
            values[str(cut.y.name)] = of_cut(model, cut, values.pop(str(cut.x.name)))
    for length, values in zip(LENGTHS, windows, strict=True):
        assert set(values) == {"logits"}
        reference.reset()
        wanted = reference.score(text(length))
        assert np.allclose(values["logits"].reshape(wanted.shape), wanted, atol=1e-4)


def test_little_is_kept_between_layers(model: ir.Model, logits: ir.Value) -> None:
    cuts = cuts_of(model)
    pieces = Segments(model, cuts, logits)
    inputs = {v.name for v in model.graph.inputs}
    for segment, cut in zip(pieces.segments, cuts, strict=False):
        kept = set(segment.outputs) - {cut.x.name}
        assert len(kept) <= 2, "the stream, and what all layers read"
        assert not kept & inputs
