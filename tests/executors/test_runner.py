"""RunnerExecutor: the interface, cancelling, and a runner that dies."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_plans import STATE
from edits import put
from talk import Start, failure
from toy import CHUNK, C, Toy

from toolkit.errors import PocketError
from toolkit.executors.batch.host import HostBatch
from toolkit.executors.open import open_executor
from toolkit.executors.runner import RunnerExecutor

TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8]


@pytest.fixture
def executor(toy: Toy, cache: Path) -> Any:
    found = RunnerExecutor(toy.folder, cache=cache)
    yield found
    found.close()


def pid(executor: RunnerExecutor) -> int:
    assert executor._process
    return executor._process._child.pid


def test_generates(toy: Toy, executor: RunnerExecutor) -> None:
    first = executor.prefill(TEXT, 0)
    ids = list(executor.decode(first, len(TEXT), 9, ()))
    assert [first, *ids] == toy.continued(TEXT, 10) and executor.stop_reason == "length"
    assert executor.step(TEXT[4], 4) == toy.next(TEXT[:5])
    assert executor.device and executor.load_s > 0 and executor.name == "runner"
    assert executor.stats()["dispatches_per_token"] == 5


def test_stop_and_context(toy: Toy, executor: RunnerExecutor) -> None:
    expected = toy.continued(TEXT, 8)
    first = executor.prefill(TEXT, 0)
    stop = {expected[3], 49}
    end = next(i for i, token in enumerate(expected) if i and token in stop)
    assert list(executor.decode(first, len(TEXT), 20, stop)) == expected[1 : end + 1]
    assert executor.stop_reason == "eos"
    assert len(list(executor.decode(first, len(TEXT), 999, ()))) == C - len(TEXT)
    assert executor.stop_reason == "context"


def test_closing_cancels(toy: Toy, executor: RunnerExecutor) -> None:
    first = executor.prefill(TEXT, 0)
    ids = []
    running = executor.decode(first, len(TEXT), 25, ())
    for token in running:
        ids.append(token)
        if len(ids) == 3:
            running.close()
    assert [first, *ids] == toy.continued(TEXT, 4) and executor.stop_reason == "cancel"
    rest = list(executor.decode(ids[-1], len(TEXT) + 3, 5, ()))
    assert rest == toy.continued([*TEXT, first, *ids], 5)


def test_cancelled_far_ahead_feeds_the_text_again(
    toy: Toy, executor: RunnerExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = executor.prefill(TEXT, 0)
    running = executor.decode(first, len(TEXT), 25, ())
    ids = [next(running), next(running)]
    process, asked = executor._process, list[str]()
    assert process
    ask = process.ask
    monkeypatch.setattr(process, "ask", lambda command: asked.append(command) or ask(command))
    time.sleep(0.5)  # the runner needs no reader to come to its end
    running.close()
    assert asked == [f"prefill 0 {' '.join(map(str, [*TEXT, first, ids[0]]))}"]
    assert executor.step(ids[1], len(TEXT) + 2) == toy.next([*TEXT, first, *ids])


def test_logits_and_score(toy: Toy, executor: RunnerExecutor) -> None:
    list(executor.decode(1, 0, 2, ()))
    executor.prefill(TEXT, 0)
    expected = toy.logits(TEXT)
    np.testing.assert_allclose(executor.logits(), expected[-1], rtol=1e-4, atol=1e-4)
    scores = executor.score(TEXT[6:], 6)  # loads the phase; what was fed before still counts
    np.testing.assert_allclose(scores, expected[6:], rtol=1e-4, atol=1e-4)
    assert scores.dtype == np.float32
    assert executor.stats()["decode_tokens"] == 2  # of the process before
    before = pid(executor)
    np.testing.assert_allclose(executor.score(TEXT, 0), expected, rtol=1e-4, atol=1e-4)
    assert pid(executor) == before
    assert executor.step(7, len(TEXT)) == toy.next([*TEXT, 7])


@pytest.mark.parametrize("ids, past", [([50], 0), ([], 0), ([1] * 3, C - 2), ([1], -1)])
def test_bad_tokens(executor: RunnerExecutor, ids: list[int], past: int) -> None:
    for run in (executor.prefill, executor.score):
        with pytest.raises(PocketError) as error:
            run(ids, past)
        assert error.value.because and error.value.hint


def test_an_error_of_decode(toy: Toy, cache: Path) -> None:
    toy.table[9] = np.inf
    toy.save()
    executor = RunnerExecutor(toy.folder, cache=cache)
    with pytest.raises(PocketError, match="position 0 are not numbers"):
        list(executor.decode(9, 0, 4, ()))
    assert executor.prefill([3], 0) == toy.next([3])
    executor.close()


def test_a_killed_runner(executor: RunnerExecutor) -> None:
    executor.prefill(TEXT, 0)
    os.kill(pid(executor), signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(PocketError) as error:
            executor.step(1, len(TEXT))
        assert error.value.what == "the runner ended unexpectedly"
        assert error.value.because == "killed by SIGKILL" and "memory" in error.value.hint
    executor.close()
    with pytest.raises(PocketError, match="closed"):
        executor.step(1, len(TEXT))


def test_killed_while_decoding(toy: Toy, cache: Path) -> None:
    slow = "  for (volatile int i = 0; i < 50000000; ++i);\n  tokens[0]"
    toy.sources["pick"] = toy.sources["pick"].replace("  tokens[0]", slow)
    toy.save()
    executor = RunnerExecutor(toy.folder, cache=cache)
    with pytest.raises(PocketError, match="killed by SIGSEGV"):
        for _ in executor.decode(3, 0, 30, ()):
            os.kill(pid(executor), signal.SIGSEGV)
    executor.close()


def test_a_failure_at_the_start(toy: Toy, cache: Path, capfd: Any) -> None:
    file = toy.folder / "kernels" / "pick.cl"
    file.write_text(file.read_text().replace("int best", "int worst"))
    with pytest.raises(PocketError) as error:
        RunnerExecutor(toy.folder, cache=cache)
    assert "no variant of toy.pick runs" in error.value.what and "best" in error.value.because
    assert capfd.readouterr().err == f"note: {file} was edited after the compile\n"


def test_platform_option(toy: Toy, cache: Path) -> None:
    with pytest.raises(PocketError, match="no OpenCL device matches 'nothing'"):
        open_executor(toy.folder, "runner", platform="nothing", cache=cache)


def test_runner_and_host_agree(toy: Toy, executor: RunnerExecutor) -> None:
    host = open_executor(toy.folder, "host")
    for run in (host, executor):
        first = run.prefill(TEXT, 0)
        ids = list(run.decode(first, len(TEXT), 12, ()))
        assert [first, *ids] == toy.continued(TEXT, 13)
    np.testing.assert_array_equal(host.score(TEXT, 0), executor.score(TEXT, 0))
    host.close()


@pytest.mark.parametrize("update", ["replace", "once"])
def test_states_that_cannot_be_taken_back(toy: Toy, start: Start, cache: Path, update: str) -> None:
    """Steps run ahead of the ids: both executors, and the runner by itself, say so at the start."""
    toy.save_json(put("states.0", {**STATE, "update": update}))
    what = "the state state can't be run"
    for on in ("host", "runner"):
        with pytest.raises(PocketError) as error:
            open_executor(toy.folder, on, **({"cache": cache} if on == "runner" else {}))
        assert error.value.what == what and f"'{update}'" in error.value.because
        assert error.value.hint
    with pytest.raises(PocketError, match=what):
        HostBatch(toy.folder)
    facts = failure(start(toy.folder).first)
    assert facts["what"] == what and f"'{update}'" in facts["because"] and facts["hint"]


@pytest.mark.parametrize("on", ["host", "runner"])
def test_a_plan_that_is_replaced_before_all_is_loaded(toy: Toy, cache: Path, on: str) -> None:
    """The phase `score` is loaded when it is first used: it would be of another plan."""
    executor = open_executor(toy.folder, on, **({"cache": cache} if on == "runner" else {}))
    executor.prefill(TEXT, 0)
    other = Toy(toy.folder.with_name("other"), seed=1)
    (other.folder / "plan.json").replace(toy.folder / "plan.json")
    with pytest.raises(PocketError) as error:
        executor.score(TEXT, 0)
    assert error.value.what == f"{toy.folder} was replaced while it was read"
    assert error.value.because and error.value.hint == "run it again"
    executor.close()


def test_chunk_of_the_toy_is_what_the_tests_rely_on() -> None:
    assert CHUNK < len(TEXT) < C - 20
