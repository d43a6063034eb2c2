"""Records that threads of the runner compute: as the kernels' reference, whatever the timing."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from native import DRIVERS, build, library_sources

from opencl_kernels.formats import Array
from opencl_kernels.layouts import F16, quantized
from opencl_kernels.records.gathered import HEAD
from opencl_kernels.records.neurons import CASES, GELU, SILU, Neurons, activation, reference
from toolkit.compiler.lowering.records.unit import postfix
from toolkit.plan.schema.activation import FUNCTIONS, activated, is_activation

# The kernels' own cases, but for formats of x that the runner makes floats of before.
ALIKE = [replace(case, x="f32", v="f32") for case in CASES if case.T]
ODD = {"PARTS": 3, "M": 1, "S": 70, "T": 65, "F": 91, "G": 3}
OTHERS = [
    Neurons(D=1, w=F16, act="Relu(v)", **ODD),
    Neurons(D=7, w=quantized("e0m4", 128, "f16", "u8"), act=SILU, **ODD),
    Neurons(D=63, w=quantized("e0m4", 64, "f16"), act=GELU, gate_bias=True, **ODD),
    Neurons(D=2048, w=quantized("e0m4", 32, "f16", "u8"), act="Where(v > 0.5, v, 0.0)", **ODD),
]


@pytest.fixture(scope="module")
def drive() -> Path:
    parts = [f for f in library_sources() if f.parent.name in ("base", "plan", "waves")]
    flags = ("-fsanitize=thread", "-g1", "-O1", "-fvisibility=hidden")
    return build("waves_drive", [*parts, DRIVERS / "waves_drive.cpp"], *flags)


def drawn(case: Neurons, seed: int) -> dict[str, Array]:
    """Inputs of a case; its ticket begins."""
    random, (ticket, slots) = np.random.default_rng(seed), case.gathered()
    assert ticket.random and slots.random
    found = {"ticket": ticket.random(random), "slots": slots.random(random)}
    found["ticket"][1] = 1
    shapes = {"x": (case.M, case.D), "v": (case.M, case.F), "bg": (case.F,), "bu": (case.F,)}
    asked = {"v": case.gate == "given", "bg": case.gate_bias, "bu": case.up_bias}
    for name, shape in shapes.items():
        if asked.get(name, True):
            found[name] = random.standard_normal(shape).astype(np.float32)
    return found


def sums(
    drive: Path,
    folder: Path,
    case: Neurons,
    inputs: dict[str, Array],
    each: int,
    threads: int,
    **env: str,
) -> bytes:
    names = [name for name in ("slots", "pairs", "x", "v", "bg", "bu") if name in inputs]
    whole = {**inputs, "pairs": inputs["ticket"][HEAD:]}
    names.insert(1, "pairs")
    (folder / "in").write_bytes(b"".join(whole[name].tobytes() for name in names))
    functions = [postfix(activation(text)) for text in (case.act, case.up_act)]
    stored, record = case.w, case.record
    words = [folder / "in", case.gate, *functions, case.gate_bias + 2 * case.up_bias, case.M]
    words += [case.F, case.PARTS, case.D, stored.dtype, stored.group, int(bool(stored.zero))]
    words += [record.part_bytes, record.nbytes, case.S, case.T, each, threads]
    done = subprocess.run(
        [drive, *map(str, words)], capture_output=True, timeout=60, env=os.environ | env
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.mark.parametrize("number", range(len(ALIKE) + len(OTHERS)))
def test_as_the_kernels_are(drive: Path, tmp_path: Path, number: int) -> None:
    case = [*ALIKE, *OTHERS][number]
    inputs = drawn(case, number)
    found = sums(drive, tmp_path, case, inputs, 16, 2)
    expected = reference(inputs, case)["part"].sum(axis=0)
    error = np.frombuffer(found, np.float32).reshape(case.M, case.D) - expected
    assert (error**2).sum() <= 1e-10 * (expected**2).sum()


def test_sums_hang_on_the_waves_alone(drive: Path, tmp_path: Path) -> None:
    case = OTHERS[-1]
    inputs = drawn(case, 5)
    found = {sums(drive, tmp_path, case, inputs, 17, threads) for threads in (1, 3, 8)}
    assert len(found) == 1 and sums(drive, tmp_path, case, inputs, 65, 3) not in found


@pytest.mark.parametrize("text", [SILU, GELU, "Max(v, 0.5) / Exp(-v)", "Where(v <= 1.0, v, -v)"])
def test_functions_are_those_of_kernels(text: str) -> None:
    v = np.linspace(-3, 3, 63)
    words = postfix(activation(text))
    assert words is not None
    expected = {
        SILU: v / (1 + np.exp(-v)),
        GELU: 0.5 * v * (1 + FUNCTIONS["Erf"][1](v * 0.70710678)),
        "Max(v, 0.5) / Exp(-v)": np.maximum(v, 0.5) / np.exp(-v),
        "Where(v <= 1.0, v, -v)": np.where(v <= 1, v, -v),
    }[text]
    np.testing.assert_allclose(activated(words, v), expected, rtol=1e-12)


COMPARED = {
    "Float(v > 0.0) + Float(v > 1.0)": [0, 0, 1, 1, 2],
    "Float(v >= 0.0) - Float(v < 1.0)": [-1, 0, 0, 1, 1],
}


@pytest.mark.parametrize("text", COMPARED)
def test_comparisons_are_numbers(drive: Path, tmp_path: Path, text: str) -> None:
    """That can be added and subtracted, as in kernels."""
    case = replace(OTHERS[0], D=7, act=text)
    inputs = drawn(case, 3)
    found = sums(drive, tmp_path, case, inputs, 65, 2)
    expected = reference(inputs, case)["part"].sum(axis=0)
    error = np.frombuffer(found, np.float32).reshape(case.M, case.D) - expected
    assert (error**2).sum() <= 1e-10 * (expected**2).sum()
    v, words = np.array([-1.0, 0.0, 0.5, 1.0, 2.0], np.float32), postfix(activation(text))
    assert words is not None and activated(words, v).tolist() == COMPARED[text]


def test_threads_go_anywhere_where_nobody_tells_of_cores(drive: Path, tmp_path: Path) -> None:
    """The program ends where a thread is kept to cores all the same."""
    inputs = drawn(OTHERS[1], 5)
    found = sums(drive, tmp_path, OTHERS[1], inputs, 17, 0, NO_CORES="1")
    assert found == sums(drive, tmp_path, OTHERS[1], inputs, 17, 0)


def test_what_only_kernels_know_is_no_unit() -> None:
    assert postfix(activation("Asinh(v)")) is None


@pytest.mark.parametrize(
    "text", ["", "v v", "Add", "v Add", "v  Relu", "v relu", "1_0", "v Where", "0x10"]
)
def test_no_functions(drive: Path, tmp_path: Path, text: str) -> None:
    assert not is_activation(text)
    done = subprocess.run([drive, tmp_path / "in", "none", "v", text, *(["0"] * 14)])
    assert done.returncode == 3
