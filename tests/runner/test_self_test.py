"""Kernels that a driver builds wrong: a test at its first use names them, and the next one runs."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from fatal_toy import Driver, builds, is_right, remember_test
from patience import wait_for
from talk import failure
from toy import D, Toy, V

from toolkit.toolchain.opencl_loader import find_opencl

NAME = "kernels/risky.cl (fatal_name)"
WRONG = f"the driver builds {NAME} wrong: for toy.embed its argument 3 is "
GPU = {"FAKE_GPU": "1", "FAKE_PRIVATE": "0"}  # that spills nothing
ALONE = ("--child-builds", "off")
# What the fake compiler makes of the kernel: it mixes ids up, or drops one store of sixteen.
MISTAKES = ["tokens[row]|tokens[0]", "x[row * D + d] =|if (d != 3) x[row * D + d] ="]


def own(tmp_path: Path, ending: str) -> list[Path]:
    return list((tmp_path / "own").glob(f"*.{ending}"))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_wrong_results_are_named_and_the_next_variant_runs(
    fatal: Toy, driver: Driver, log: Path, tmp_path: Path, mistake: str
) -> None:
    talk = driver("none", *ALONE, FAKE_WRONG=mistake, **GPU)
    is_right(talk, fatal)
    code, errors = talk.end()
    assert code == 0 and f"note: {NAME} is not used:\n{WRONG}" in errors
    assert errors.count("the next variant is used instead") == 1
    assert len(own(tmp_path, "bad")) == 1 and len(own(tmp_path, "ok")) == 1
    assert builds(log) == 1
    again = driver("none", *ALONE, FAKE_WRONG=mistake, **GPU)
    is_right(again, fatal)
    assert WRONG in again.end()[1] and again.ready["programs_built"] == 0 and builds(log) == 1


def test_a_right_kernel_is_tested_once(fatal: Toy, driver: Driver, log: Path) -> None:
    """The second start launches and loads nothing more than without a test."""
    plain = ("--recorded", "off", "--cooperative", "off", "--child-builds", "off")
    first = driver("none", *plain, at="launch", **GPU)
    assert first.end() == (0, "") and first.ready["programs_built"] == 5
    assert log.read_text().count("launch\n") == 1
    log.write_text("")
    again = driver("none", *plain, at="launch", **GPU)
    assert again.end() == (0, "") and "launch" not in log.read_text()
    assert (again.ready["programs_built"], again.ready["programs_cached"]) == (0, 5)


def alone(fatal: Toy) -> None:
    """The first dispatch has the risky variant only."""
    for phase in fatal.plan["phases"]:
        del phase["steps"][0]["variants"][1:]
    fatal.save()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_kernel_without_another_is_refused(fatal: Toy, driver: Driver, mistake: str) -> None:
    alone(fatal)
    talk = driver("none", *ALONE, FAKE_WRONG=mistake, **GPU)
    facts = failure(talk.first)
    assert facts["what"].startswith("no variant of toy.embed runs on ")
    assert "(driver " in facts["what"] and WRONG in facts["because"]
    assert facts["hint"].startswith("a newer driver, POCKETCL_RETRY_BAD=1 to try again")
    assert talk.end()[0] == 1
    newer = driver("none", *ALONE, FAKE_VERSION="2.0", **GPU)
    is_right(newer, fatal)
    assert newer.end() == (0, "")


def test_what_was_edited_is_its_editors(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    """Tests are of the kernels and the plan as they were compiled."""
    kernel = fatal.folder / "kernels/risky.cl"
    kernel.write_text(kernel.read_text().replace("= table", "= -table"))
    talk = driver("none", *ALONE, **GPU)
    code, errors = talk.end()
    assert code == 0 and "was edited" in errors and "wrong" not in errors
    assert not own(tmp_path, "ok")


@pytest.mark.parametrize("edited", [False, True])
def test_what_follows_an_edited_kernel_is_not_judged(
    fatal: Toy, driver: Driver, tmp_path: Path, edited: bool
) -> None:
    fatal.plan["tests"].append(remember_test(fatal))
    fatal.save()
    kernel = fatal.folder / "kernels/risky.cl"
    if edited:
        kernel.write_text(kernel.read_text().replace("= table", "= -table"))
    code, errors = driver("none", *ALONE, **GPU).end()
    assert code == 0 and ("was edited" in errors) is edited and "wrong" not in errors
    assert len(own(tmp_path, "ok")) == (0 if edited else 2) and not own(tmp_path, "bad")


def test_damaged_weights_are_no_fault_of_the_driver(
    fatal: Toy, driver: Driver, tmp_path: Path
) -> None:
    """Nothing is remembered against a kernel that was tested on them."""
    file = fatal.folder / "weights.0.bin"
    whole = file.read_bytes()
    file.write_bytes(bytes(4 * V * D) + whole[4 * V * D :])
    talk = driver("none", *ALONE, **GPU)
    facts = failure(talk.first)
    assert talk.end()[0] == 1 and facts["what"] == f"{file} is damaged"
    assert "content" in facts["because"] and "copy the plan folder again" in facts["hint"]
    assert not own(tmp_path, "bad")
    file.write_bytes(whole)
    again = driver("none", *ALONE, **GPU)
    is_right(again, fatal)
    assert again.end() == (0, "") and len(own(tmp_path, "ok")) == 1


def test_the_words_of_an_older_test_prove_nothing(
    fatal: Toy, driver: Driver, tmp_path: Path
) -> None:
    """It had compared the variants of a dispatch, and took the only one for right."""
    assert driver("none", *ALONE, **GPU).end() == (0, "")
    [proof] = own(tmp_path, "ok")
    assert proof.read_text() == "computes what the compiler did\n"
    proof.write_text("only variant\n")
    for file in own(tmp_path, "bin"):
        file.unlink()
    talk = driver("none", *ALONE, FAKE_WRONG=MISTAKES[0], **GPU)
    is_right(talk, fatal)
    assert WRONG in talk.end()[1]


def test_what_no_dispatch_can_launch_is_not_judged(fatal: Toy, driver: Driver) -> None:
    """A plan whose test is of a phase that is not loaded."""
    fatal.plan["tests"][0] |= {"phase": 2}
    fatal.save()
    talk = driver("none", *ALONE, FAKE_WRONG=MISTAKES[0], **GPU)
    assert talk.end() == (0, "")


def test_another_driver_is_tested_anew(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    driver("none", *ALONE, **GPU).end()
    talk = driver("none", *ALONE, FAKE_WRONG=MISTAKES[0], FAKE_VERSION="2.0", **GPU)
    is_right(talk, fatal)
    assert WRONG in talk.end()[1]
    mended = driver("none", *ALONE, "--retry-bad", FAKE_VERSION="2.0", **GPU)
    is_right(mended, fatal)


def test_a_cpu_is_trusted(fatal: Toy, driver: Driver, tmp_path: Path) -> None:
    assert driver("none").end() == (0, "") and not own(tmp_path, "ok")


REFUSALS = {
    "sizes": ({"FAKE_CODE": "-54", "FAKE_AT": "launch"}, "is not launched here"),
    "local memory": ({"FAKE_LOCAL": "99999999999"}, "bytes of local memory, the device has"),
    "its source": ({"FAKE_CODE": "-11"}, "does not build"),
    "its kernel": ({"FAKE_CODE": "-46", "FAKE_AT": "kernel"}, "gives no kernel"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_what_a_driver_refuses_is_named_and_the_next_variant_runs(
    fatal: Toy, driver: Driver, refusal: str
) -> None:
    env, words = REFUSALS[refusal]
    talk = driver("", *ALONE, **env, **GPU)
    is_right(talk, fatal)
    code, errors = talk.end()
    assert code == 0 and NAME in errors and words in errors
    assert "the next variant is used instead" in errors


def killed_while_it_hangs(plan: Path, program: Path, driver: Path, log: Path) -> None:
    words = [program, plan, "--cl-lib", driver, "--cache", log.parent / "own", *ALONE]
    env = {"FAKE_DEATH": "hang", "FAKE_AT": "launch", "FAKE_LOG": str(log)} | GPU
    log.write_text("")
    child = subprocess.Popen(
        [*map(str, words)], env=os.environ | env | {"FAKE_REAL": str(find_opencl())}
    )
    try:
        wait_for(lambda: "launch" in log.read_text(), "a launch that hangs")
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL


def test_a_launch_that_hangs_is_avoided_after_two_kills(
    fatal: Toy, driver: Driver, program: Path, fake_driver: Path, log: Path
) -> None:
    """Nothing tells a hang from a slow kernel but the patience of whoever ends the process."""
    for _ in range(2):
        killed_while_it_hangs(fatal.folder, program, fake_driver, log)
    talk = driver("hang", *ALONE, at="launch", **GPU)
    is_right(talk, fatal)
    errors = talk.end()[1]
    assert f"the driver ended while launching toy.embed for the first time: {NAME}" in errors
