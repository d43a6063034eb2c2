"""What a runner was doing when it died is written down, and the next one avoids it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from fatal_toy import Driver, is_right
from launch_modes import skip_without
from talk import Start, Talk
from toy import Toy

from toolkit.errors import PocketError
from toolkit.executors.runner import RunnerExecutor
from toolkit.executors.runner_options import runner_options
from toolkit.toolchain.opencl_loader import find_opencl


def journal(tmp_path: Path) -> str:
    (file,) = (tmp_path / "own").glob("journal.*")
    return file.read_text()


@pytest.mark.parametrize(
    "at, words",
    [
        ("", "build {key} building kernels/risky.cl (fatal_name)"),
        ("launch", "launch {key} launching toy.embed for the first time: kernels/risky.cl"),
    ],
)
def test_a_crash_is_named_and_the_next_start_avoids_it(
    fatal: Toy, driver: Driver, tmp_path: Path, at: str, words: str
) -> None:
    talk = driver("segv", "--child-builds", "off", at=at, FAKE_GPU="1")
    assert talk.end()[0] == -signal.SIGSEGV
    left = journal(tmp_path)
    before, after = words.split("{key}")
    assert left.startswith(f"{talk.child.pid} {before}") and after in left
    assert left.endswith("crashed SIGSEGV\n")
    again = driver("segv", "--child-builds", "off", at=at, FAKE_GPU="1")
    is_right(again, fatal)
    assert "the driver crashed (SIGSEGV) while " in again.end()[1]
    assert not list((tmp_path / "own").glob("journal.*"))


def test_ended_twice_in_the_same_place(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    """A process that is killed leaves no word why: once is no proof."""
    for _ in range(2):
        talk = driver(
            "kill", "--child-builds", "off", at="launch", FAKE_GPU="1"
        )  # in the trial of decode
        assert talk.end()[0] == -signal.SIGKILL
        assert "crashed" not in journal(tmp_path)
    again = driver("kill", "--child-builds", "off", at="launch", FAKE_GPU="1")
    is_right(again, fatal)
    assert "the driver ended while launching toy.embed" in again.end()[1]


def test_two_killed_at_once_are_no_proof(
    fatal: Toy, start: Start, fake_driver: Path, tmp_path: Path
) -> None:
    """Whoever kills all at once, as a system that is shut down, says nothing of a driver."""
    env = {"FAKE_REAL": str(find_opencl()), "FAKE_GPU": "1"}
    options = ("--cl-lib", str(fake_driver), "--cache", str(tmp_path / "own"))
    options += ("--child-builds", "off")
    start(fatal.folder, *options, **env).end()
    key = next((tmp_path / "own").glob("*.bin")).stem
    for process in ("1111111", "1111112"):
        words = f"{process} build {key} building it\n"
        (tmp_path / "own" / f"journal.{process}").write_text(words)
    for _ in range(2):
        talk = start(fatal.folder, *options, **env)
        is_right(talk, fatal)
        assert "the next variant" not in talk.end()[1]
    (noted,) = (tmp_path / "own").glob("*.bad")
    assert noted.stem == key and noted.read_text().startswith("once: ended while")


def test_a_binary_that_is_fatal_to_load_is_dropped(
    fatal: Toy, driver: Driver, tmp_path: Path
) -> None:
    driver("none", "--child-builds", "off").end()
    assert driver("segv", "--child-builds", "off", at="load").end()[0] == -signal.SIGSEGV
    assert " load " in journal(tmp_path)
    again = driver("segv", "--child-builds", "off", at="load")
    is_right(again, fatal)
    assert again.ready["programs_built"] == 1 and not list((tmp_path / "own").glob("*.bad"))


def test_a_journal_of_ones_own(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    file = tmp_path / "mine"
    plain = ("--recorded", "off", "--cooperative", "off", "--child-builds", "off")
    driver("none", *plain, FAKE_GPU="1").end()  # so that no kernel is to be tested any more
    talk = driver("segv", *plain, "--journal", str(file), at="launch", FAKE_GPU="1")
    assert file.read_text() == f"{talk.child.pid}\n"
    talk.send("prefill 0 3 1 4")
    talk.end()
    assert "launching toy.embed" in file.read_text()
    again = driver("segv", *plain, "--journal", str(file), at="launch", FAKE_GPU="1")
    is_right(again, fatal)
    again.end()
    assert not file.exists()


def test_a_recording_that_is_fatal_is_not_tried_again(
    toy: Toy, start: Start, fake_driver: Path, tmp_path: Path
) -> None:
    """Steps run plainly first, so that no kernel of theirs is blamed."""

    def run() -> Talk:
        env = {"FAKE_REAL": str(find_opencl()), "FAKE_DEATH": "segv", "FAKE_AT": "record"}
        options = ("--cl-lib", str(fake_driver), "--cache", str(tmp_path / "own"))
        return start(toy.folder, *options, **env, FAKE_GPU="1")

    first = run()
    if first.ready:
        skip_without(first, "command-buffer")
    assert first.end()[0] == -signal.SIGSEGV
    assert "trying recorded steps of decode" in journal(tmp_path)
    again = run()
    why = again.ready["recorded"]["decode"]["refused"]["command-buffer"]
    assert why.startswith("the driver crashed (SIGSEGV) while trying recorded steps of decode")
    assert again.decode("decode 0 3 4")[0] == toy.continued([3], 4)


def test_the_error_in_python_says_where(
    fatal: Toy, fake_driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.executors.target.find_opencl", lambda: fake_driver)
    monkeypatch.setenv("FAKE_REAL", str(find_opencl()))
    monkeypatch.setenv("POCKETCL_CHILD_BUILDS", "off")
    for death, at, what in (
        ("segv", "launch", "the driver crashed while launching toy.embed for the first time: "),
        ("abort", "", "the driver crashed while building kernels/risky.cl (fatal_name)"),
        ("kill", "", "the runner was killed while building kernels/risky.cl (fatal_name)"),
    ):
        monkeypatch.setenv("FAKE_DEATH", death)
        monkeypatch.setenv("FAKE_AT", at)
        with pytest.raises(PocketError) as error:
            RunnerExecutor(fatal.folder, cache=tmp_path / death)
        assert error.value.what.startswith(what) and "killed by SIG" in error.value.because


def test_words_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETCL_PRIORITY", "low")
    monkeypatch.setenv("POCKETCL_CHILD_BUILDS", "on")
    monkeypatch.setenv("POCKETCL_RETRY_BAD", "1")
    options = ["--recorded", "off", "--child-builds", "on", "--priority", "high", "--retry-bad"]
    assert runner_options(recorded="off", priority="high") == options
    monkeypatch.setenv("POCKETCL_PRIORITY", "lowest")
    with pytest.raises(PocketError, match="POCKETCL_PRIORITY is 'lowest'"):
        runner_options()
