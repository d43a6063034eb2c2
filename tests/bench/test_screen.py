"""`bench --ui`: the second client draws in its own time, and what it waits for is told."""

import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from toolkit.bench.screen import PERIOD_MS, Screen, beside_a_screen, lines, spinning, summary
from toolkit.bench.trials import Ours
from toolkit.cli.commands import cli
from toolkit.errors import PocketError


class Told:
    """A screen that tells what it is told to."""

    def __init__(self, *waits: list[float]) -> None:
        self.waits, self.asked = list(waits), list[str]()

    def go(self) -> None:
        self.asked.append("go")

    def stop(self) -> list[float]:
        self.asked.append("stop")
        return self.waits.pop(0)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toolkit.bench.screen.IDLE_S", 0)


def test_waits_are_told_by_what_the_model_did(executor: Any) -> None:
    screen: Any = Told([2.0, 30.0], [], [1.0], [4.0], [5.0], [0.5])  # prefill, decode, idle
    figures = beside_a_screen(Ours(executor), screen, [1, 2, 3], 4, 2, lambda *_: None)
    assert screen.asked == ["go", "stop"] * 6
    assert (figures["idle"]["frames"], figures["idle"]["longest_ms"]) == (2, 1)
    prefill, decode = figures["prefill"], figures["decode"]
    assert (prefill["frames"], prefill["longest_ms"]) == (3, 30)
    assert (decode["frames"], decode["median_ms"]) == (1, 5)
    assert math.isfinite(prefill["loss"]) and decode["loss"] < 1
    assert figures["spinning"] is None
    text = "\n".join(lines(figures))
    assert "30.0 ms at most" in text and "1 frames" in text and "spinning" not in text
    assert len(executor.calls) == 8  # two trials alone, two beside it


def test_on_a_processor_frames_also_wait_beside_threads_of_no_model(executor: Any) -> None:
    screen: Any = Told([1.0], [1.0], [1.0], [7.0, 2.0])
    figures = beside_a_screen(Ours(executor), screen, [1, 2, 3], 4, 1, lambda *_: None, 2)
    assert figures["spinning"]["threads"] == 2
    assert (figures["spinning"]["frames"], figures["spinning"]["longest_ms"]) == (2, 7)
    assert "beside 2 threads of no model" in "\n".join(lines(figures))


def test_threads_spin_as_long_as_they_are_wanted() -> None:
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    before = {*children.read_text().split()}
    with spinning(2):
        assert len({*children.read_text().split()} - before) == 2
    assert {*children.read_text().split()} <= before


def test_no_frame_was_due() -> None:
    none = summary([])
    assert none["frames"] == 0 and none["longest_ms"] is None
    names = ("idle", "spinning", "prefill", "decode")
    figures = {"period_ms": 16, **{name: {**none, "loss": 0} for name in names}}
    assert "no frame" in "\n".join(lines(figures))


def test_one_of_twenty_waits_longer() -> None:
    found = summary([float(n) for n in range(100, 0, -1)])
    assert (found["median_ms"], found["p95_ms"], found["longest_ms"]) == (50.5, 96, 100)


def test_a_client_of_this_device_draws_only_when_it_is_asked() -> None:
    with Screen("runner") as screen:
        screen.go()
        time.sleep(0.5)
        drawn = screen.stop()
        time.sleep(0.1)
        screen.go()
        assert len(screen.stop()) <= 1
    assert 3 <= len(drawn) <= 500 / PERIOD_MS + 1
    assert all(0 < wait < 500 for wait in drawn)


def test_a_client_that_cannot_use_the_device_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETCL_PLATFORM", "no such platform")
    with pytest.raises(PocketError) as error:
        Screen("runner")
    assert "no such platform" in error.value.because


def test_a_client_that_dies_is_no_figure() -> None:
    screen = Screen("runner")
    screen._process.kill()
    with pytest.raises(PocketError, match="draws beside"):
        screen.stop()
    screen.close()


ALL_PHONES = ["PLAN", "--on", "phone", "--serial", "all", "--ui"]


@pytest.mark.parametrize("words", [["--kernels", "--ui"], ALL_PHONES])
def test_options_that_do_not_go_together(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.plan").mkdir()
    given = [str(tmp_path / "x.plan") if word == "PLAN" else word for word in words]
    result = CliRunner().invoke(cli, ["bench", *given])
    assert result.exit_code == 2 and "--ui" in result.output
