"""What products take over: dispatches of a layer, and answers against ONNX Runtime."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from changed_decoder import DOWN, check, compiled, decode_kernels

from toolkit.evaluation.verify import verify

GELU = """half{i} = Mul({x}, h05) cube{i} = Mul({x}, {x}) third{i} = Mul(cube{i}, {x})
 small{i} = Mul(third{i}, c044) inner{i} = Add({x}, small{i}) wide{i} = Mul(inner{i}, c08)
 bent{i} = Tanh(wide{i}) more{i} = Add(bent{i}, one) {y} = Mul(half{i}, more{i})"""
TANH = GELU.format(i=0, x="gate", y="act")
ERF = """part = Div(gate, root) bent = Erf(part) more = Add(bent, one) some = Mul(gate, more)
 act = Mul(some, h05)"""
SILU = "sg = Sigmoid(gate)  act = Mul(gate, sg)"
GATE, UP, MIX = "gate = MatMul(y, wg)", "up = MatMul(y, wu)", "mix = Mul(act, up)"
NUMBERS = ", float h05 = {0.5}, float c044 = {0.044715}, float c08 = {0.7978846}, float one = {1}"
NUMBERS += ", float root = {1.4142135}, float cap = {30.0}, float[48] bg, float[48] bu"
NUMBERS += ", float[32] shift, float[32, 96] both_w, int64[2] sizes = {48, 48}"
NUMBERS += ", float[32] bd, float[48, 32] we, int64[1] ends = {-100}"


def layer_norm(i: int, x: str, y: str) -> tuple[tuple[str, str], ...]:
    """The i-th RMSNorm as a LayerNorm, spelled out."""
    return (
        (f"p{i} = Pow({x}, two)", f"mean{i} = ReduceMean({x}, last) d{i} = Sub({x}, mean{i}) "
         f"p{i} = Pow(d{i}, two)"),
        (f"n{i} = Mul({x}, r{i})", f"n{i} = Mul(d{i}, r{i})"),
        (f"{y} = Mul(g{i}, n{i})", f"t{i} = Mul(g{i}, n{i}) {y} = Add(t{i}, shift)"),
    )  # fmt: skip


NORMS = (*layer_norm(1, "h", "x"), *layer_norm(2, "h1", "y"), *layer_norm(3, "h2", "z"))
SIX = {  # dispatches of a layer: qkv, rotation and states, attention, its output, up, down
    "GeGLU": ((SILU, TANH),),
    "GeGLU by erf, biased": (
        *((SILU, ERF), (GATE, "g0 = MatMul(y, wg) gate = Add(g0, bg)")),
        (UP, "u0 = MatMul(y, wu) up = Add(u0, bu)"),
    ),
    "SwiGLU, biased": (
        (GATE, "g0 = MatMul(y, wg) gate = Add(g0, bg)"),
        (UP, "u0 = MatMul(y, wu) up = Add(u0, bu)"),
    ),
    "gate and up of one matrix, clipped": (
        (GATE, "both = MatMul(y, both_w) gate, up = Split<axis = -1>(both, sizes)"),
        *((UP, ""), (SILU, "top = Min(gate, one) act = Sigmoid(top)")),
    ),
    "squared ReLU alone": ((UP, ""), (SILU, "ra = Relu(gate)"), (MIX, "mix = Mul(ra, ra)")),
    "scaled residuals": (
        (DOWN, "d0 = MatMul(mix, wd) down = Mul(d0, h05)"),
        ("o = MatMul(o2, wo)", "oo = MatMul(o2, wo) o = Mul(h05, oo)"),
    ),
    "logits under a cap": (
        (
            "logits = MatMul(z, tt)",
            "l0 = MatMul(z, tt) l1 = Div(l0, cap) l2 = Tanh(l1) logits = Mul(l2, cap)",
        ),
    ),
    "LayerNorms": NORMS,
    "LayerNorms, GELU, biases": (
        *((UP, ""), (SILU, TANH), (MIX, "mix = Identity(act)")),
        *((GATE, "g0 = MatMul(y, wg) gate = Add(g0, bg)"), *NORMS),
        (DOWN, "d0 = MatMul(mix, wd) down = Add(d0, bd)"),
    ),
    "parallel": (
        ("p2 = Pow(h1, two)", "p2 = Pow(h, two)"),
        ("n2 = Mul(h1, r2)", "n2 = Mul(h, r2)"),
    ),
}


QUICK = (
    *("GeGLU by erf, biased", "LayerNorms, GELU, biases", "scaled residuals"),
    "a gate that another product reads",
)


def some(names: Iterable[str], quick: Sequence[str]) -> list[Any]:
    """All names; those that are not quick are slow tests."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", some(SIX, QUICK))
def test_six_dispatches_a_layer(name: str, tmp_path: Path) -> None:
    done = compiled(tmp_path, *SIX[name], constants=NUMBERS)
    kernels = [kernel for kernel, _ in decode_kernels(done)]
    mixed = ["gemv_cpu", "rope_kv", "attention_decode_cpu", "gemv_cpu"]
    assert kernels == [*mixed, "gemv_cpu", "gemv_cpu", "gemv_cpu", "sample_cpu"]
    check(done)
    matrices = [weight for weight in done.plan.weights if weight.layout == "n16"]
    names = {weight.name for weight in matrices}
    assert len(names) == len(matrices) == 5  # each once, whatever the phase; the head is the table

    prefill = next(phase for phase in done.plan.phases if phase.name == "prefill")
    programs = (done.plan.programs[step.variants[0].program] for step in prefill.dispatches())
    maps = [program for program in programs if program.kernel == "map"]
    assert len(maps) <= 1  # of the last row


OTHERS = {
    "a gate that another product reads": (
        *("m0 = Mul(act, up) e = MatMul(gate, we) f = MatMul(e, wg)", "mix = Add(m0, f)"),
    ),
    "ups in another order": ("back = Slice(up, minus, ends, v2, minus)", "mix = Mul(act, back)"),
    "ups that are summed": ("m0 = Mul(act, up) all = ReduceSum(up, last)", "mix = Add(m0, all)"),
}


@pytest.mark.parametrize("name", some(OTHERS, QUICK))
def test_what_others_read_is_stored_as_it_is(name: str, tmp_path: Path) -> None:
    mix = " ".join(OTHERS[name])
    done = compiled(tmp_path, (SILU, TANH), (MIX, mix), constants=NUMBERS)
    check(done)
    assert all("glu" not in case for _, case in decode_kernels(done))


@pytest.mark.slow
def test_halves_of_activations(tmp_path: Path) -> None:
    """Sums are floats until the epilogue: what is stored as halves is rounded once."""
    done = compiled(tmp_path, *SIX["GeGLU"], *NORMS, constants=NUMBERS, activations="f16")
    report = verify(done.path, on="host")
    assert report["ok"], report
    assert all(case["nmse"] < 1e-4 for case in report["original"])
