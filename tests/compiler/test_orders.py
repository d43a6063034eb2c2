"""Records in any order: it changes no answer, and the file has each where the plan says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from pass_helpers import text
from tiny_decoder import decoder_text

import toolkit
from opencl_kernels.formats import Array
from toolkit.compiler.budget import fit
from toolkit.compiler.calibrated import orders_of
from toolkit.executors.host import HostExecutor
from toolkit.executors.runner import RunnerExecutor
from toolkit.offload.orders import order_of
from toolkit.plan.load import load_plan

F = 1000  # several tiles, and a rest
WIDE = (("32, 48", f"32, {F}", "wg"), ("32, 48", f"32, {F}", "wu"), ("48, 32", f"{F}, 32", "wd"))
SILU = "sg = Sigmoid(gate)  act = Mul(gate, sg)"
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]


def made(folder: Path, act: str) -> Path:
    """The plan of the tiny decoder with such gates, in halves."""
    source = decoder_text()
    for old, new in (*((f"float[{a}] {n}", f"float[{b}] {n}") for a, b, n in WIDE), (SILU, act)):
        assert old in source
        source = source.replace(old, new)
    folder.mkdir(exist_ok=True)
    ir.save(text(source), folder / "model.onnx")
    sizes = {"weights": "f16", "memory": "99%", "max_context": 32, "prefill_chunk": 8}
    return toolkit.compile(folder / "model.onnx", folder / "m.plan", **sizes).path


@pytest.fixture(params=[SILU, "act = Relu(gate)"], ids=["all", "some"])
def plans(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Path]:
    """One whose records are in the order of neurons, and one where they are in a random one."""
    order = np.random.default_rng(3).permutation(F)
    plain = made(tmp_path / "plain", request.param)
    monkeypatch.setattr(fit, "orders_of", lambda _: (order,))
    return plain, made(tmp_path / "ordered", request.param)


def answers(executor: Any) -> Array:
    """Of a prompt in chunks, and of some steps behind it."""
    first = executor.prefill(IDS, 0)
    found = [executor.logits().copy()]
    for n, token in enumerate([first, 7, 2, 6]):
        executor.step(token, len(IDS) + n)
        found.append(executor.logits().copy())
    executor.close()
    return np.stack(found)


def test_answers_are_the_same_in_any_order(plans: tuple[Path, Path]) -> None:
    plain, ordered = plans
    expected = answers(HostExecutor(plain))
    for found in (
        answers(HostExecutor(ordered)),
        answers(RunnerExecutor(ordered)),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_each_record_is_the_neuron_that_the_order_says(plans: tuple[Path, Path]) -> None:
    rows = []
    for path in plans:
        (table,) = (plan := load_plan(path)).tables
        file = np.fromfile(path / plan.files[table.file].path, np.uint8)
        rows.append(file[: table.count * table.stride].reshape(table.count, table.stride))
    order = order_of(plans[1], plan, table)
    assert order is not None and not np.array_equal(order, np.arange(F))
    np.testing.assert_array_equal(rows[1], rows[0][order])


def test_the_most_frequent_come_first_and_ties_keep_their_order() -> None:
    (found,) = orders_of([np.array([0.5, 0.1, 0.5, 0.9, 0.1])])
    assert found.tolist() == [3, 0, 2, 1, 4]
