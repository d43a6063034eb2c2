"""Networks one after another and side by side give the losses that ONNX Runtime gives."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import run, text

from onnx_passes.analysis.ffn import find_ffns
from onnx_passes.analysis.roles import Roles, note_roles
from onnx_passes.ir.infer import infer
from toolkit.calibration.seen import Statistics
from toolkit.calibration.walk import Walk, Window

V, D, F = 40, 16, 7
NORM = "LayerNormalization<axis = -1>(%s, scale, shift)"
WHOLE = """<ir_version: 10, opset_import: ["": 18]>
stack (int64[1, S] ids) => (float[1, S, 40] logits)
<float[40, 16] table, float[16] scale, float[16] shift, float[16, 40] head,
 float[16, 7] u0, float[7, 16] d0, float[16, 7] u1, float[7, 16] d1>
{ h = Gather(table, ids) %s logits = MatMul(z, head) }"""


def network(number: int, x: str) -> str:
    n = number
    return f"p{n} = MatMul({x}, u{n}) r{n} = Relu(p{n}) y{n} = MatMul(r{n}, d{n}) "


POST = (  # as in OPT-350m: the stream itself is normed, and what is added to was read
    f"x0 = {NORM % 'h'} {network(0, 'x0')} a0 = Add(x0, y0) "
    f"x1 = {NORM % 'a0'} {network(1, 'x1')} a1 = Add(x1, y1) z = {NORM % 'a1'}"
)
SIDE = f"x = {NORM % 'h'} {network(0, 'x')} {network(1, 'x')} a = Add(h, y0) z = Add(a, y1)"
EACH = (  # a norm each, of the same stream
    f"x0 = {NORM % 'h'} x1 = Mul(x0, scale) "
    f"{network(0, 'x0')} {network(1, 'x1')} a = Add(h, y0) z = Add(a, y1)"
)


def model_of(body: str) -> ir.Model:
    model = text(WHOLE % body)
    rng = np.random.default_rng(9)
    for name, value in model.graph.initializers.items():
        shape = [int(d) for d in value.shape or ()]
        value.const_value = ir.tensor(rng.standard_normal(shape).astype(np.float32), name=name)
    infer(model)
    note_roles(model, Roles("ids", "logits", None, None, ()))
    return model


@pytest.mark.parametrize("body", [POST, SIDE, EACH], ids=["post-norm", "side by side", "each"])
def test_losses_are_those_of_the_whole_model(body: str) -> None:
    model = model_of(body)
    ffns = find_ffns(model)[0]
    assert len(ffns) == 2
    ids = np.random.default_rng(3).integers(0, V, 33)
    [logits] = run(model, {"ids": ids[None]})
    rows = logits[0, :-1].astype(np.float64)
    wanted = np.log(np.exp(rows).sum(axis=1)) - rows[np.arange(32), ids[1:]]
    walk = Walk(model, ffns, [Window(ids.tolist()), Window(ids.tolist(), held_out=True)])
    for level in range(2):
        neurons = walk.reach(level)
        seen = Statistics(neurons)
        walk.see(level, neurons, seen.add)
        walk.leave(level, neurons, seen.layer("y", "relu").predicted)
    [(_, losses)] = walk.losses()
    np.testing.assert_allclose(losses, wanted, rtol=1e-4, atol=1e-4)
