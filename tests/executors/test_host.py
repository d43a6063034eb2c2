"""The toy's plan on the device against the toy in numpy."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.errors import PocketError
from toolkit.executors.dump import Dumped
from toolkit.executors.host import HostExecutor
from toolkit.executors.open import open_executor

CONTEXT, CHUNK, V, D = 40, 5, 23, 8
PROMPT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]


@pytest.fixture
def executor(plan_path: Path) -> Any:
    found = open_executor(plan_path, "host")
    yield found
    found.close()


@pytest.mark.parametrize("n", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 12])
def test_prefill_in_chunks(executor: HostExecutor, numpy_toy: Any, n: int) -> None:
    expected = numpy_toy.feed(PROMPT[:n], 0)[-1]
    assert executor.prefill(PROMPT[:n], 0) == expected.argmax()
    np.testing.assert_array_equal(executor.logits(), expected)


def test_forced_steps(executor: HostExecutor, numpy_toy: Any) -> None:
    executor.prefill(PROMPT, 0)
    numpy_toy.feed(PROMPT, 0)
    for i, token in enumerate([7, 0, 22]):
        expected = numpy_toy.feed([token], len(PROMPT) + i)[-1]
        assert executor.step(token, len(PROMPT) + i) == expected.argmax()
        np.testing.assert_array_equal(executor.logits(), expected)


def test_decode_is_greedy(executor: HostExecutor, numpy_toy: Any) -> None:
    first = executor.prefill(PROMPT, 0)
    numpy_toy.feed(PROMPT, 0)
    found = list(executor.decode(first, len(PROMPT), 9, ()))
    assert found == numpy_toy.greedy(first, len(PROMPT), 9)
    assert executor.stop_reason == "length"
    assert executor.stats()["dispatches_per_token"] == 6


def test_decode_stops_behind_a_stop_id(executor: HostExecutor, numpy_toy: Any) -> None:
    first = executor.prefill(PROMPT, 0)
    numpy_toy.feed(PROMPT, 0)
    expected = numpy_toy.greedy(first, len(PROMPT), 9)
    stop = expected[3]
    found = list(executor.decode(first, len(PROMPT), 9, {stop}))
    assert found == expected[: expected.index(stop) + 1]
    assert executor.stop_reason == "eos"


def test_closing_cancels_and_a_new_run_is_right(executor: HostExecutor, numpy_toy: Any) -> None:
    first = executor.prefill(PROMPT, 0)
    steps = executor.decode(first, len(PROMPT), 9, ())
    next(steps)
    steps.close()
    assert executor.stop_reason == "cancel"
    assert executor.prefill(PROMPT[:7], 0) == numpy_toy.feed(PROMPT[:7], 0)[-1].argmax()


def test_decode_ends_with_the_context(executor: HostExecutor, numpy_toy: Any) -> None:
    first = executor.prefill(PROMPT, 0)
    numpy_toy.feed(PROMPT, 0)
    room = CONTEXT - len(PROMPT)
    found = list(executor.decode(first, len(PROMPT), 1000, ()))
    assert found == numpy_toy.greedy(first, len(PROMPT), room)
    assert executor.stop_reason == "context"
    assert list(executor.decode(first, CONTEXT, 5, ())) == []
    assert executor.stop_reason == "context"


def test_score_gives_every_row(executor: HostExecutor, numpy_toy: Any) -> None:
    np.testing.assert_array_equal(executor.score(PROMPT, 0), numpy_toy.feed(PROMPT, 0))
    np.testing.assert_array_equal(executor.score(PROMPT[:3], 12), numpy_toy.feed(PROMPT[:3], 12))
    np.testing.assert_array_equal(executor.logits(), numpy_toy.feed(PROMPT[:3], 12)[-1])


def test_rewinding_is_lowering_past(executor: HostExecutor, numpy_toy: Any) -> None:
    first = executor.prefill(PROMPT, 0)
    list(executor.decode(first, len(PROMPT), 6, ()))
    numpy_toy.feed(PROMPT, 0)
    assert executor.prefill([8, 8, 8, 8, 8, 8], 4) == numpy_toy.feed([8] * 6, 4)[-1].argmax()
    assert executor.step(3, 10) == numpy_toy.feed([3], 10)[-1].argmax()


@pytest.mark.parametrize(
    "ids, past, fault",
    [
        ([], 0, "no tokens"),
        ([0, V], 0, "token id 23 at position 1 is out of range"),
        ([-1], 0, "out of range"),
        ([1] * (CONTEXT + 1), 0, "don't fit"),
        ([1], CONTEXT, "don't fit"),
        ([1], -1, "don't fit"),
    ],
)
def test_bad_tokens(executor: HostExecutor, ids: list[int], past: int, fault: str) -> None:
    for run in (executor.prefill, executor.score):
        with pytest.raises(PocketError, match=fault):
            run(ids, past)


def test_a_full_context_can_be_filled_exactly(executor: HostExecutor, numpy_toy: Any) -> None:
    ids = (PROMPT * 4)[:CONTEXT]
    assert executor.prefill(ids, 0) == numpy_toy.feed(ids, 0)[-1].argmax()


def test_logits_that_are_no_numbers(own_plan: Path) -> None:
    kernel = own_plan / "kernels/toy.cl"
    kernel.write_text(kernel.read_text().replace("float sum = 0;", "float sum = NAN;"))
    executor = HostExecutor(own_plan)
    with pytest.raises(PocketError, match="logits at position 1 are not numbers"):
        executor.prefill([1, 2], 0)
    with pytest.raises(PocketError, match="logits at position 2 are not numbers"):
        list(executor.decode(1, 2, 4, ()))


def test_dump_all(plan_path: Path, numpy_toy: Any) -> None:
    seen: list[Dumped] = []
    executor = HostExecutor(plan_path, dump=["all"], sink=seen.append)
    executor.prefill([3, 1, 4], 0)
    assert [(d.step, d.tensor) for d in seen] == [
        (0, "x"), (1, "layers.0.k"), (2, "y"), (4, "logits"),
        (5, "symbols"), (5, "tokens"), (5, "ids"),
    ]  # fmt: skip
    np.testing.assert_array_equal(seen[0].value, numpy_toy.table[[3, 1, 4]])
    np.testing.assert_array_equal(seen[1].value[:3], numpy_toy.table[[3, 1, 4]])
    assert seen[3].value.shape == (1, V)
    assert "prefill 0 embed: x float32[3 x 8]" in str(seen[0])
    np.testing.assert_array_equal(executor.tensor("prefill", "head"), numpy_toy.head)
    assert executor.tensor("prefill", "y").shape == (3, D)


def test_dump_by_name(plan_path: Path) -> None:
    seen: list[Dumped] = []
    executor = HostExecutor(plan_path, dump=["y"], sink=seen.append)
    first = executor.prefill(PROMPT[:6], 0)
    list(executor.decode(first, 6, 2, ()))
    assert [(d.phase, d.value.shape[0]) for d in seen] == [
        ("prefill", 5), ("decode", 1), ("decode", 1), ("decode", 1),
    ]  # fmt: skip
    with pytest.raises(PocketError, match="no tensor is called") as caught:
        HostExecutor(plan_path, dump=["layers.0.v"])
    assert "layers.0.k" in caught.value.hint


def variants(body: Any, phase: int, step: int) -> Any:
    return body["phases"][phase]["steps"][step]["variants"]


def test_falls_back_to_the_next_variant(edit: Any, numpy_toy: Any) -> None:
    def change(body: Any) -> None:
        broken = {
            "source": "kernels/toy.cl",
            "kernel": "embed",
            "defines": [["D", "}"], ["V", "1"]],
        }
        body["programs"].append(broken)
        good = variants(body, 0, 0)[0]
        unable = {**good, "requires": ["int_dot"]}
        variants(body, 0, 0)[:] = [unable, {**good, "program": len(body["programs"]) - 1}, good]

    executor = HostExecutor(edit(change))
    assert executor.prefill(PROMPT, 0) == numpy_toy.feed(PROMPT, 0)[-1].argmax()


HUNGRY = """__kernel void embed(__global const int *sym, __global const int *tokens,
                                    __global const float *table, __global float *x) {
  volatile __local float most[1 << 20];
  most[get_local_id(0)] = x[0];
  x[0] = most[get_local_id(0)];
}
"""


@pytest.mark.parametrize("good_too", [True, False])
def test_a_variant_that_takes_too_much_local_memory_is_left_alone(
    edit: Any, numpy_toy: Any, good_too: bool
) -> None:
    """By what the plan says, before it is built; and by what the built kernel takes."""

    def change(body: Any) -> None:
        hungry = {"source": "kernels/hungry.cl", "kernel": "embed", "defines": []}
        body["files"].append({"path": hungry["source"], "bytes": len(HUNGRY), "sha256": "0" * 64})
        body["programs"] += [{**hungry, "kernel": "never"}, hungry]
        count = len(body["programs"])
        good = variants(body, 0, 0)[0]
        told = {**good, "program": count - 2, "local_bytes": 2**30}
        found = {**good, "program": count - 1, "local_bytes": 64}
        variants(body, 0, 0)[:] = [told, found, *([good] if good_too else [])]

    path = edit(change)
    (path / "kernels/hungry.cl").write_text(HUNGRY)
    if good_too:
        assert HostExecutor(path).prefill(PROMPT, 0) == numpy_toy.feed(PROMPT, 0)[-1].argmax()
        return
    with pytest.raises(PocketError, match="no variant of embed runs on") as caught:
        HostExecutor(path)
    assert "needs 1073741824 bytes of local memory, the device has" in caught.value.because
    assert "takes 4194304 bytes of local memory" in caught.value.because


def test_no_variant_builds(edit: Any) -> None:
    path = edit(lambda body: None)
    kernel = path / "kernels/toy.cl"
    kernel.write_text(kernel.read_text().replace("float sum", "flot sum"))
    with pytest.raises(PocketError, match="no variant of embed runs on") as caught:
        HostExecutor(path)
    assert "kernels/toy.cl" in caught.value.because
    assert "flot" in caught.value.because


def test_wrong_number_of_arguments(edit: Any) -> None:
    path = edit(lambda body: body["phases"][0]["steps"][4]["args"].append(["symbols"]))
    with pytest.raises(PocketError, match="head"):
        HostExecutor(path)


def test_missing_kernel_function(edit: Any) -> None:
    path = edit(lambda body: body["programs"][0].update(kernel="nothing"))
    with pytest.raises(PocketError, match="no variant of embed runs on") as caught:
        HostExecutor(path)
    assert "(nothing) gives no kernel: " in caught.value.because


def test_unknown_platform(plan_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PocketError, match="no OpenCL device matches 'nonesuch'"):
        HostExecutor(plan_path, platform="nonesuch")
    monkeypatch.setenv("POCKETCL_PLATFORM", "absent")
    with pytest.raises(PocketError, match="no OpenCL device matches 'absent'"):
        HostExecutor(plan_path)


def test_a_plan_that_is_aligned_for_less_than_the_device_needs(write: Any, tmp_path: Path) -> None:
    plan = write(tmp_path / "a.plan")
    loose = dataclasses.replace(plan, weights=(), files=(), profile={"class": "cpu", "align": 32})
    write(tmp_path / "b.plan", plan=loose)
    with pytest.raises(PocketError, match="does not fit"):
        HostExecutor(tmp_path / "b.plan")


def test_a_plan_without_score(edit: Any) -> None:
    executor = HostExecutor(edit(lambda body: body["phases"].pop()))
    with pytest.raises(PocketError, match="no phase that gives logits"):
        executor.score([1], 0)


def test_unknown_executor(plan_path: Path) -> None:
    with pytest.raises(PocketError, match="no executor is called 'moon'"):
        open_executor(plan_path, "moon")
