"""Drivers that die in their compiler or at a launch: the next variant runs, and it is known."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from fatal_toy import Driver, builds, is_right
from talk import Start, Talk, failure
from toy import Toy

from toolkit.errors import PocketError
from toolkit.executors.runner import RunnerExecutor
from toolkit.executors.runner_options import runner_options
from toolkit.toolchain.opencl_loader import find_opencl

WORDS = {
    "segv": "was killed by SIGSEGV",
    "abort": "was killed by SIGABRT",
    "exit": "ended with code 3",
    "hang": "hung for 2 s",
}


@pytest.mark.parametrize("death", WORDS)
def test_the_next_variant_runs_and_it_is_remembered(
    fatal: Toy, driver: Driver, log: Path, tmp_path: Path, death: str
) -> None:
    options = ("--child-builds", "on", "--build-limit", "2")
    talk = driver(death, *options)
    is_right(talk, fatal)
    code, errors = talk.end()
    name = "kernels/risky.cl (fatal_name)"
    assert code == 0 and builds(log) == 1
    assert f"the driver {WORDS[death]} while building {name}:" in errors
    assert "the fake compiler is lost" in errors and "the next variant is used" in errors
    again = driver(death, *options)
    is_right(again, fatal)
    errors = again.end()[1]
    assert builds(log) == 1 and f"the driver {WORDS[death]} while building {name}" in errors
    (bad,) = (tmp_path / "own").glob("*.bad")
    assert str(bad) in errors and "POCKETCL_RETRY_BAD=1" in errors


@pytest.mark.slow
def test_it_is_tried_again_on_request_and_by_another_driver(
    fatal: Toy, driver: Driver, log: Path, tmp_path: Path
) -> None:
    driver("segv", "--child-builds", "on").end()
    assert builds(log) == 1
    driver("segv", "--child-builds", "on", FAKE_VERSION="2.0").end()
    assert builds(log) == 2 and len(list((tmp_path / "own").glob("*.bad"))) == 2
    mended = driver("none", "--child-builds", "on", "--retry-bad")
    is_right(mended, fatal)
    assert builds(log) > 2 and "note" not in mended.end()[1]
    assert len(list((tmp_path / "own").glob("*.bad"))) == 1
    (bad,) = (tmp_path / "own").glob("*.bad")
    bad.unlink()
    is_right(driver("none", "--child-builds", "on", FAKE_VERSION="2.0"), fatal)


def test_no_variant_is_left(fatal: Toy, driver: Driver) -> None:
    for phase in fatal.plan["phases"]:
        phase["steps"][0]["variants"].pop()
    fatal.save()
    facts = failure(driver("segv", "--child-builds", "on").first)
    assert facts["what"].startswith("no variant of toy.embed runs on ")
    assert "kernels/risky.cl (fatal_name)" in facts["because"]
    assert "was killed by SIGSEGV" in facts["because"]
    assert "driver" in facts["what"] and "POCKETCL_RETRY_BAD=1" in facts["hint"]


def test_a_gpu_has_children_by_itself(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    is_right(driver("abort", FAKE_GPU="1"), fatal)
    assert list((tmp_path / "own").glob("*.bad"))


def test_of_a_cpu_nothing_is_remembered(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    talk = driver("segv", "--child-builds", "auto")
    is_right(talk, fatal)
    assert "was killed by SIGSEGV" in talk.end()[1]
    assert not list((tmp_path / "own").glob("*.bad"))


def test_a_child_killed_from_outside_is_not_the_driver(
    fatal: Toy, driver: Driver, tmp_path: Path
) -> None:
    """As where memory ran out: one compiler alone, in the runner, may have enough."""
    talk = driver("kill-child", "--child-builds", "on")
    is_right(talk, fatal)
    assert talk.end() == (0, "")
    assert not list((tmp_path / "own").glob("*.bad"))


def test_a_kernel_that_is_fatal_to_make(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    """As on Mali, whose compiler starts then."""
    is_right(driver("segv", "--child-builds", "on", at="kernel"), fatal)
    assert list((tmp_path / "own").glob("*.bad"))


@pytest.mark.slow
def test_a_plan_that_is_replaced_while_it_loads(
    fatal: Toy, driver: Driver, log: Path, tmp_path: Path
) -> None:
    """Its weights are of one plan then, its kernels perhaps of the other."""

    def replace() -> None:
        while not builds(log):
            time.sleep(0.05)
        copy = fatal.folder / "another"
        copy.write_bytes((fatal.folder / "plan.json").read_bytes())
        copy.replace(fatal.folder / "plan.json")

    other = threading.Thread(target=replace)
    other.start()
    facts = failure(driver("hang", "--child-builds", "on", "--build-limit", "2").first)
    other.join()
    assert facts["what"] == f"{fatal.folder} was replaced while it was read"
    assert "another compile" in facts["because"] and facts["hint"] == "run it again"


# --- children ------------------------------------------------------------------------------------


def test_children_leave_one_entry_each_and_equal_answers(
    fatal: Toy, driver: Driver, tmp_path: Path
) -> None:
    def entries() -> list[str]:
        return sorted(f.name for f in (tmp_path / "own").iterdir())

    talk = driver("none", "--child-builds", "on", FAKE_GPU="1")
    is_right(talk, fatal)
    assert (talk.ready["programs_built"], talk.ready["programs_cached"]) == (6, 0)
    talk.end()
    made = entries()
    assert sorted(name.split(".")[1] for name in made) == ["bin"] * 6 + ["ok"]
    again = driver("none", "--child-builds", "off")
    is_right(again, fatal)
    assert (again.ready["programs_built"], again.ready["programs_cached"]) == (0, 5)
    again.end()
    for file in (tmp_path / "own").iterdir():
        file.unlink()
    alone = driver("none", "--child-builds", "off", FAKE_GPU="1")
    is_right(alone, fatal)
    alone.end()
    assert entries() == made


def test_a_damaged_entry_is_built_by_a_child(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    driver("none", "--child-builds", "on").end()
    first, second = (  # of programs that every start loads
        file
        for file in (tmp_path / "own").glob("*.bin")
        if any(name in file.read_bytes() for name in (b"remember", b"recall"))
    )
    first.write_bytes(first.read_bytes()[:-9])
    second.write_bytes(b"")
    talk = driver("none", "--child-builds", "on")
    is_right(talk, fatal)
    assert (talk.ready["programs_built"], talk.ready["programs_cached"]) == (2, 3)


def test_killed_in_mid_build_leaves_nothing_half(
    fatal: Toy, driver: Driver, start: Start, fake_driver: Path, tmp_path: Path, log: Path,
    program: Path,
) -> None:  # fmt: skip
    own = tmp_path / "own"
    command = [program, fatal.folder, "--cache", own, "--cl-lib", fake_driver]
    env = os.environ | {"FAKE_DEATH": "hang", "FAKE_LOG": str(log), "FAKE_REAL": str(find_opencl())}
    child = subprocess.Popen(
        [*map(str, command), "--child-builds", "on"], env=env, stdout=subprocess.PIPE
    )
    for _ in range(600):
        if builds(log):
            break
        time.sleep(0.05)
    (own / "x.bin.half.999999999").write_text("half")  # as of a process that is dead
    child.send_signal(signal.SIGKILL)
    child.communicate()
    for _ in range(100):  # its children go with it
        if not _children_of(own):
            break
        time.sleep(0.05)
    assert not _children_of(own)
    is_right(driver("none", "--child-builds", "on"), fatal)
    names = {f.name for f in own.iterdir()}
    assert not any("half" in name or name.endswith(".bad") for name in names)


def _children_of(cache: Path) -> list[str]:
    """Processes with --build on this cache."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--build" in words and str(cache).encode() in words:
            found.append(process.parent.name)
    return found


def test_without_a_cache_programs_are_built_here(fatal: Toy, driver: Driver) -> None:
    talk = driver("none", "--child-builds", "on", "--cache", "")
    assert talk.next("prefill 0 3 1 4") == fatal.next([3, 1, 4])
    assert talk.end() == (0, "")


# --- the journal ---------------------------------------------------------------------------------


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
        pytest.skip("the driver has no command buffers")
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
