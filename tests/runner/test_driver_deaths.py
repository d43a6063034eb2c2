"""Drivers that die in their compiler or at a launch: the next variant runs, and it is known."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from fatal_toy import Driver, builds, is_right
from patience import wait_for
from talk import failure
from toy import Toy

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
        wait_for(lambda: builds(log), "a build while the plan loads")
        copy = fatal.folder / "another"
        copy.write_bytes((fatal.folder / "plan.json").read_bytes())
        copy.replace(fatal.folder / "plan.json")

    other = threading.Thread(target=replace)
    other.start()
    facts = failure(driver("hang", "--child-builds", "on", "--build-limit", "2").first)
    other.join()
    assert facts["what"] == f"{fatal.folder} was replaced while it was read"
    assert "another compile" in facts["because"] and facts["hint"] == "run it again"
