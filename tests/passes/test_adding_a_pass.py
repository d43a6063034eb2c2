"""A pass with an op of its own takes a file, a line in PASSES and an entry in ops.txt: no more."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import run
from tiny_decoder import feeds, tiny

import onnx_passes
from onnx_passes.fuse_glu import fuse_glu
from onnx_passes.ir import infer, ops
from onnx_passes.ir.dims import unresolved_dims
from onnx_passes.ir.edit import Builder, replace
from onnx_passes.ir.graph import DOMAIN, needed, producer
from onnx_passes.ir.rules import Miss, Outcome, Rules, apply
from toolkit.compiler.inspection import model_report, why

ENTRY = """Silu (x) => (y) {
  s = Sigmoid (x)
  y = Mul (x, s)
}"""


def fuse_silu(model: ir.Model) -> Outcome:
    """Replace every x * sigmoid(x)."""
    return apply(model, RULES)


def _fuse(_: ir.Model, node: ir.Node) -> bool:
    x, sigmoid = needed(node, 0), producer(node.inputs[1], "Sigmoid")
    if sigmoid is None:
        return False
    if sigmoid.inputs[0] is not x:
        raise Miss("the sigmoid is of another value")
    replace(node, Builder(node).op("Silu", x, domain=DOMAIN))
    return True


RULES: Rules = {("", "Mul"): _fuse}


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line in PASSES, and the entry."""
    place = onnx_passes.PASSES.index(fuse_glu)
    passes = (*onnx_passes.PASSES[:place], fuse_silu, *onnx_passes.PASSES[place:])
    definitions = (*ops.definitions(), ops._parse(ENTRY))
    monkeypatch.setattr(onnx_passes, "PASSES", passes)
    monkeypatch.setattr(ops, "definitions", lambda: definitions)


def test_it_runs_and_onnx_runtime_says_the_same_after_every_pass() -> None:
    model = tiny()
    (expected, *_), ran = run(tiny(), feeds(5)), False
    for name, outcome in onnx_passes.rewrite(model):
        assert name != "fuse_silu" or outcome == Outcome(1)
        ran = ran or name == "fuse_silu"
        if ran:
            actual, *_ = run(model, feeds(5))
            np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
    assert ran


def test_its_sizes_follow_from_its_body() -> None:
    model = tiny()
    dict(onnx_passes.rewrite(model))
    (node,) = [node for node in model.graph if node.op_type == "Silu"]
    assert str(node.outputs[0].shape) == "[1,seq,48]" and node.op_type not in infer.OURS
    assert unresolved_dims(model) == [] and not model.functions


def test_it_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    ir.save(tiny(("act = Mul(gate, sg)", "act = Mul(up, sg)")), path)
    passes = {row["name"]: row["rewrites"] for row in model_report(path)["passes"]}
    assert passes["fuse_silu"] == 0
    (line,) = why(path, "fuse_silu")
    assert line.startswith("Mul ") and line.endswith(": the sigmoid is of another value")
    assert why(path, "fuse_rope") == ["fuse_rope: nothing was missed"]
