"""Recorded decode: the same tokens and the same bits as plain dispatches, and nothing per token."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from launch_modes import in_mode, modes, skip_without
from native import DRIVERS
from needed import absent
from scripts import TEXT, answers, errors_of, script
from talk import Start, Talk
from toy import HEADER, C, D, Toy, fetch

from toolkit.executors.runner import RunnerExecutor

DEMO = Path(__file__).parents[2] / "toolkit/demo_model"
COUNTERS = ("allocated", "built", "enqueued", "replayed", "refused", "recorded")
BLOCKS = """__kernel void blocks(__global const int *sym, __global const float *state,
                                     __global float *y) {
  const int d = get_global_id(0) % D, reach = get_global_size(0) / D * 8;
  if (get_global_id(0) >= D) return;
  float sum = 0;
  for (int j = 0; j <= PAST && j < reach; ++j)
    sum += state[j * D + d] * ((PAST * 3 + j * 5) % 7 - 3);
  y[d] = sum;
}
"""


class Counts:
    """What the shim has counted so far."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(bytes(8 * len(COUNTERS)))
        self.values = np.memmap(file, np.uint64, "r")

    def now(self) -> dict[str, int]:
        return dict(zip(COUNTERS, map(int, self.values), strict=True))

    def of(self, run: Callable[[], Any]) -> dict[str, int]:
        before = self.now()
        run()
        return {name: value - before[name] for name, value in self.now().items()}


Shimmed = Callable[..., tuple[Talk, Counts]]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not compiler:
        absent("there is no C compiler")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = DRIVERS / "shim.c"
    link = ["-Wl,--no-as-needed", "-l:libOpenCL.so.1", "-ldl"]
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", library, source, *link]
    done = subprocess.run(command, capture_output=True, text=True)
    if "cannot find -l:libOpenCL" in done.stderr:
        absent("there is no system OpenCL to stand before")
    assert done.returncode == 0, done.stderr
    return library


@pytest.fixture
def shimmed(shim: Path, start: Start, tmp_path: Path) -> Shimmed:
    """Starts a runner behind the shim, with a fault of the driver if one is named."""

    def run(folder: Path, *options: str, fault: str = "", after: int = 0) -> tuple[Talk, Counts]:
        counts = Counts(tmp_path / "counters")
        env = {"SHIM_COUNTERS": str(tmp_path / "counters"), "LD_PRELOAD": str(shim)}
        env |= {"SHIM_FAULT": fault, "SHIM_AFTER": str(after)}
        return start(folder, "--cl-lib", str(shim), *options, **env), counts

    return run


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from toolkit import compile

    folder = tmp_path_factory.mktemp("demo") / "demo.plan"
    compile(DEMO, folder)
    return folder


@pytest.fixture
def bucketed(toy: Toy) -> Toy:
    """A toy whose launch sizes depend on past: a new size every eight positions, at first none."""
    toy.sources["blocks"] = BLOCKS
    toy.plan["programs"].append(
        {"source": "kernels/blocks.cl", "kernel": "blocks", "defines": HEADER}
    )
    steps = toy.plan["phases"][1]["steps"]
    program = len(toy.plan["programs"]) - 1
    blocks = {"program": program, "local": [1], "requires": []}
    # One block less, so that it does nothing before position 8; then again, with all of them.
    fewer = blocks | {"global": [["past", 8, "//", D, "*"]]}
    enough = blocks | {"global": [["past", 8, "+", 8, "//", D, "*"]]}
    steps[2] = steps[2] | {"name": "toy.fewer", "variants": [fewer]}
    steps.insert(3, steps[2] | {"name": "toy.enough", "variants": [enough]})
    toy.save()
    return toy


def same_both_ways(start: Start, folder: Path, lines: Sequence[str], file: Path) -> None:
    plain, recorded = (start(folder, "--recorded", way) for way in ("off", "on"))
    in_mode(recorded, "command-buffer")
    assert answers(recorded, lines, file) == answers(plain, lines, file)


# --- the same ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_toy_both_ways(toy: Toy, start: Start, tmp_path: Path, seed: int) -> None:
    same_both_ways(start, toy.folder, script(50, C, 8, seed), tmp_path / "logits")


@pytest.mark.parametrize("seed", range(3))
def test_buckets_both_ways(bucketed: Toy, start: Start, tmp_path: Path, seed: int) -> None:
    same_both_ways(start, bucketed.folder, script(50, C, 8, seed), tmp_path / "logits")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_demo_both_ways(demo: Path, start: Start, tmp_path: Path, seed: int) -> None:
    same_both_ways(start, demo, script(512, 200, 20, seed), tmp_path / "logits")


def test_buckets_are_right(bucketed: Toy, shimmed: Shimmed) -> None:
    talk, counts = shimmed(bucketed.folder, "--recorded", "on")
    assert counts.now()["recorded"] == 2  # for position 0; the trial stays in the first bucket
    first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")

    def decode() -> None:
        ids, _ = talk.decode(f"decode {len(TEXT)} {first} 20")
        assert [first, *ids] == bucketed.continued(TEXT, 21)

    # Positions 11 to 30 lie in three buckets; each is recorded once per command buffer.
    assert counts.of(decode)["recorded"] == 6
    assert counts.of(lambda: talk.decode(f"decode 25 {first} 5"))["recorded"] == 0


def test_host_steps_and_waits_between(toy: Toy, shimmed: Shimmed) -> None:
    steps = toy.plan["phases"][1]["steps"]
    steps.insert(2, {"kind": "wait", "queue": 0})
    steps.insert(4, fetch(1))
    steps.insert(1, {"kind": "wait", "queue": 0})
    toy.save()
    talk, counts = shimmed(toy.folder, "--recorded", "on")
    first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")
    spent = counts.of(lambda: talk.decode(f"decode {len(TEXT)} {first} 12"))
    assert spent["replayed"] == 4 * 12 and spent["enqueued"] == 0
    ids, _ = talk.decode(f"decode {len(TEXT)} {first} 12")
    assert [first, *ids] == toy.continued(TEXT, 13)


def test_two_queues(toy: Toy, start: Start, tmp_path: Path) -> None:
    steps = toy.plan["phases"][1]["steps"]
    for step in steps[1:3]:
        step["queue"] = 1
    steps.insert(3, {"kind": "wait", "queue": 1})
    steps.insert(1, {"kind": "wait", "queue": 0})
    toy.save()
    same_both_ways(start, toy.folder, script(50, C, 8, 1), tmp_path / "logits")


def test_never_sent_while_pending(toy: Toy, shimmed: Shimmed) -> None:
    slow = "  for (volatile int i = 0; i < 2000000; ++i);\n  tokens[0]"
    toy.sources["pick"] = toy.sources["pick"].replace("  tokens[0]", slow)
    toy.save()
    talk, counts = shimmed(toy.folder, "--recorded", "on")
    ids, _ = talk.decode("decode 0 3 20")  # the next step is always sent before one has ended
    assert ids == toy.continued([3], 20)
    assert counts.now()["refused"] == 0 < counts.now()["replayed"]


def test_a_profile_is_taken_of_plain_steps(toy: Toy, start: Start, tmp_path: Path) -> None:
    talk = start(toy.folder, "--recorded", "on", "--profile")
    assert talk.ask("profile") == "ok"
    ids, _ = talk.decode("decode 0 3 4")
    assert talk.ask(f"profile {tmp_path / 'p'}") == "ok"
    assert len(json.loads((tmp_path / "p").read_text())) == 4 * 5
    rest, _ = talk.decode(f"decode 4 {ids[-1]} 4")
    assert ids + rest == toy.continued([3], 8)


# --- by Qualcomm's recordable queues -------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_a_queue_that_records(
    bucketed: Toy, shimmed: Shimmed, start: Start, tmp_path: Path, seed: int
) -> None:
    talk, counts = shimmed(bucketed.folder, "--recorded", "on", fault="qcom")
    assert modes(talk)["chosen"] == "command-buffer" and counts.now()["replayed"] > 0
    lines, plain = script(50, C, 8, seed), start(bucketed.folder, "--recorded", "off")
    assert answers(talk, lines, tmp_path / "a") == answers(plain, lines, tmp_path / "b")
    # Five or six launches of a step are two recordings of at most three.
    spent = counts.of(lambda: talk.decode("decode 0 3 5"))
    assert (spent["replayed"], spent["enqueued"]) == (2 * 5, 0)


def test_pieces_are_recorded(toy: Toy, shimmed: Shimmed) -> None:
    for step in toy.plan["phases"][1]["steps"][:4]:
        step["variants"][0]["cut"], step["microseconds"] = 0, 400
    toy.save()
    for fault in ("", "qcom"):
        talk, _ = shimmed(toy.folder, "--recorded", "on", "--slice", "100", fault=fault)
        in_mode(talk, "command-buffer")
        assert talk.decode("decode 0 3 20")[0] == toy.continued([3], 20)


def test_a_queue_that_is_refused(toy: Toy, shimmed: Shimmed) -> None:
    talk, _ = shimmed(toy.folder, "--recorded", "on", fault="qcom refuse")
    assert modes(talk)["why"] == "no queue records: CL_INVALID_VALUE (-30)"
    assert talk.decode("decode 0 3 20")[0] == toy.continued([3], 20)


# --- the choice ----------------------------------------------------------------------------------


def test_chosen_by_measurement(toy: Toy, start: Start) -> None:
    talk = start(toy.folder)
    facts = talk.ready["recorded"]["decode"]
    skip_without(talk, "command-buffer")
    assert facts["why"] == "measured", facts
    assert facts["plain_us"] > 0 and facts["recorded_us"] > 0
    faster = facts["recorded_us"] < 0.97 * facts["plain_us"]
    assert facts["chosen"] == ("command-buffer" if faster else "plain")
    assert modes(talk) == facts


def test_the_trial_leaves_no_trace(toy: Toy, start: Start, tmp_path: Path) -> None:
    toy.plan["buffers"][3]["shape"] = [C, D]
    toy.sources["remember"] = toy.sources["remember"].replace("] = x[", "] += x[")
    toy.save()
    states = []
    for way in ("on", "off"):
        talk = start(toy.folder, "--recorded", way)
        talk.decode("decode 0 3 10")
        talk.ask(f"logits {tmp_path / way}")
        states.append((tmp_path / way).read_bytes())
    assert states[0] == states[1]


def test_off_and_the_environment(toy: Toy, start: Start) -> None:
    for talk in (
        start(toy.folder, "--recorded", "off"),
        start(toy.folder, POCKETCL_RECORDED="off"),
    ):
        why = {"command-buffer": "asked for", "cooperative": "the plan has no program for it"}
        assert modes(talk) == {
            "chosen": "plain",
            "why": "asked for",
            "plain_us": 0,
            "recorded_us": 0,
            "cooperative_us": 0,
            "refused": why,
        }
    wrong = start(toy.folder, "--recorded", "maybe")
    assert wrong.end()[0] == 2


def test_as_an_option_of_the_executor(toy: Toy, cache: Path) -> None:
    for way in ("on", "off"):
        executor = RunnerExecutor(toy.folder, cache=cache, recorded=way)
        assert executor.stats()["recorded"]["decode"]["why"] != "measured"
        first = executor.prefill(TEXT, 0)
        ids = list(executor.decode(first, len(TEXT), 12, ()))
        assert [first, *ids] == toy.continued(TEXT, 13)
        executor.close()


@pytest.mark.parametrize(
    "fault, why",
    [
        ("hide", "a function of cl_khr_command_buffer is missing"),
        ("refuse", "clCreateCommandBufferKHR, CL_OUT_OF_HOST_MEMORY"),
        ("lose", "recorded steps compute something else"),
    ],
)
def test_drivers_that_cannot(toy: Toy, shimmed: Shimmed, fault: str, why: str) -> None:
    for way in ("auto", "on"):
        talk, _ = shimmed(toy.folder, "--recorded", way, fault=fault)
        assert modes(talk)["chosen"] == "plain" and why in modes(talk)["why"]
        first = talk.next(f"prefill 0 {' '.join(map(str, TEXT))}")
        ids, _ = talk.decode(f"decode {len(TEXT)} {first} 12")
        assert [first, *ids] == toy.continued(TEXT, 13)
        notes = errors_of(talk)
        assert ("note: the steps of decode are not recorded: " in notes) == (way == "on")


def test_a_phase_that_is_not_recordable(toy: Toy, start: Start) -> None:
    toy.plan["phases"][1]["recordable"] = False
    toy.save()
    talk = start(toy.folder, "--recorded", "on")
    assert talk.ready["recorded"] == {} and talk.next("step 0 3") == toy.next([3])


@pytest.mark.slow
def test_goes_back_when_recorded_becomes_slower(toy: Toy, shimmed: Shimmed) -> None:
    talk, counts = shimmed(toy.folder, fault="turn", after=600)
    assert modes(talk)["chosen"] == "command-buffer"
    for _ in range(400):
        assert talk.decode("decode 0 3 30")[0] == toy.continued([3], 30)
        if counts.now()["replayed"] > 600:
            break

    def tried_again() -> None:  # a few steps at a time, after rests; that is worth a note
        for _ in range(300):
            talk.decode("decode 0 3 30")

    assert 1 < counts.of(tried_again)["replayed"] < 450  # of 9,000 steps
    assert modes(talk)["chosen"] == "plain"
    assert modes(talk)["why"] == "recorded steps became slower"
    assert "recorded steps became slower" in errors_of(talk)


# --- nothing per token ---------------------------------------------------------------------------


def resident(talk: Talk) -> int:
    status = Path(f"/proc/{talk.child.pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.parametrize("way", ["on", "off"])
def test_nothing_is_allocated_or_built_per_token(toy: Toy, shimmed: Shimmed, way: str) -> None:
    talk, counts = shimmed(toy.folder, "--recorded", way)
    for _ in range(10):
        talk.decode("decode 0 3 35")
    short = counts.of(lambda: talk.decode("decode 0 3 5"))
    before = resident(talk)
    for _ in range(29):  # 1,015 steps
        spent = counts.of(lambda: talk.decode("decode 0 3 35"))
        assert spent["allocated"] == short["allocated"]  # of the command, whatever its length
        assert spent["built"] == spent["recorded"] == spent["refused"] == 0
        assert (spent["replayed"], spent["enqueued"]) == ((35, 0) if way == "on" else (0, 5 * 35))
    assert resident(talk) - before < 256 * 1024
