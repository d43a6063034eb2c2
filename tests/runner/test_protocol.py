"""The line protocol on a hand-made plan, with answers computed by numpy."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from needed import needs
from talk import Start, failure
from toy import CHUNK, C, Toy, V

TEXT = [3, 1, 4, 1, 5, 9, 2, 6, 5, 35, 8, 9, 7, 9, 32, 38, 46]


def words(ids: list[int]) -> str:
    return " ".join(map(str, ids))


@pytest.fixture
def talk(toy: Toy, start: Start) -> Any:
    return start(toy.folder, "--phases", "prefill,decode,score")


@pytest.mark.parametrize("count", [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, len(TEXT)])
def test_prefill_in_chunks(toy: Toy, talk: Any, count: int) -> None:
    assert talk.next(f"prefill 0 {words(TEXT[:count])}") == toy.next(TEXT[:count])


def test_prefill_continues_at_past(toy: Toy, talk: Any) -> None:
    talk.next(f"prefill 0 {words(TEXT[:5])}")
    assert talk.next(f"prefill 5 {words(TEXT[5:])}") == toy.next(TEXT)


def test_steps_on_forced_tokens(toy: Toy, talk: Any) -> None:
    talk.next(f"prefill 0 {words(TEXT[:3])}")
    for past in range(3, 9):
        assert talk.next(f"step {past} {TEXT[past]}") == toy.next(TEXT[: past + 1])


def test_decode_to_its_count(toy: Toy, talk: Any) -> None:
    expected = toy.continued(TEXT, 13)
    first = talk.next(f"prefill 0 {words(TEXT)}")
    ids, reason = talk.decode(f"decode {len(TEXT)} {first} 12")
    assert ([first, *ids], reason) == (expected, "length")
    assert talk.next(f"step {len(TEXT) + 12} {ids[-1]}") == toy.next(TEXT + expected)


def test_decode_ends_at_a_stop_id(toy: Toy, talk: Any) -> None:
    expected = toy.continued(TEXT, 9)
    stop = expected[5]
    end = expected.index(stop, 1)
    first = talk.next(f"prefill 0 {words(TEXT)}")
    ids, reason = talk.decode(f"decode {len(TEXT)} {first} 20 7777 {stop}")
    assert ([first, *ids], reason) == (expected[: end + 1], "eos")
    # The device had begun the step behind it: the next command must not see that.
    rest, _ = talk.decode(f"decode {len(TEXT) + end} {stop} 3")
    assert rest == toy.continued(TEXT + expected[: end + 1], 3)


def test_decode_ends_with_the_context(toy: Toy, talk: Any) -> None:
    first = talk.next(f"prefill 0 {words(TEXT)}")
    ids, reason = talk.decode(f"decode {len(TEXT)} {first} 1000")
    assert (len(ids), reason) == (C - len(TEXT), "context")
    assert [first, *ids] == toy.continued(TEXT, C - len(TEXT) + 1)
    assert talk.decode(f"decode {C} {ids[-1]} 5") == ([], "context")
    assert talk.decode(f"decode {C} {ids[-1]} 0") == ([], "length")


def test_rewinding(toy: Toy, talk: Any) -> None:
    first = talk.next(f"prefill 0 {words(TEXT)}")
    talk.decode(f"decode {len(TEXT)} {first} 15")
    assert talk.next(f"step 6 {TEXT[6]}") == toy.next(TEXT[:7])
    assert talk.next(f"prefill 7 {words(TEXT[7:])}") == toy.next(TEXT)


def test_logits(toy: Toy, talk: Any, tmp_path: Path) -> None:
    file = tmp_path / "logits"
    assert "prefill first" in talk.error(f"logits {file}")["hint"]
    text = list(TEXT)
    first = talk.next(f"prefill 0 {words(text)}")
    assert talk.ask(f"logits {file}") == "ok"
    np.testing.assert_allclose(np.fromfile(file, "<f4"), toy.logits(text)[-1], rtol=1e-4, atol=1e-4)
    ids, _ = talk.decode(f"decode {len(text)} {first} 4")
    talk.ask(f"logits {file}")
    expected = toy.logits([*text, first, *ids[:-1]])[-1]
    np.testing.assert_allclose(np.fromfile(file, "<f4"), expected, rtol=1e-4, atol=1e-4)


def test_score(toy: Toy, talk: Any, tmp_path: Path) -> None:
    file = tmp_path / "scores"
    expected = toy.logits(TEXT)
    for past in (0, 4):
        assert talk.ask(f"score {past} {file} {words(TEXT[past:])}").startswith("ok ")
        scores = np.fromfile(file, "<f4").reshape(-1, V)
        np.testing.assert_allclose(scores, expected[past:], rtol=1e-4, atol=1e-4)
    talk.ask(f"logits {file}")
    np.testing.assert_allclose(np.fromfile(file, "<f4"), expected[-1], rtol=1e-4, atol=1e-4)
    assert talk.next(f"step {len(TEXT)} 3") == toy.next([*TEXT, 3])


def test_cancel(toy: Toy, talk: Any) -> None:
    first = talk.next(f"prefill 0 {words(TEXT)}")
    ids, reason = talk.decode(f"decode {len(TEXT)} {first} 20\ncancel")
    assert (ids, reason) == (toy.continued([*TEXT, first], 1), "cancel")
    talk.send("cancel")  # too late: no answer, no harm
    assert talk.next(f"prefill 0 {words(TEXT)}") == first


def test_commands_behind_a_decode_wait(toy: Toy, talk: Any) -> None:
    first = talk.next(f"prefill 0 {words(TEXT)}")
    ids, reason = talk.decode(f"decode {len(TEXT)} {first} 6\nstats")
    assert (len(ids), reason) == (6, "length")
    assert talk.line().startswith("stats ")


def test_interrupt_cancels(toy: Toy, start: Start) -> None:
    slow = "  for (volatile int i = 0; i < 100000000; ++i);\n  tokens[0]"
    toy.sources["pick"] = toy.sources["pick"].replace("  tokens[0]", slow)
    toy.save()
    talk = start(toy.folder)
    talk.send(f"prefill 0 3\ndecode 1 {toy.next([3])} 30")
    assert talk.line().startswith("ok ") and talk.line().startswith("id ")
    talk.child.send_signal(signal.SIGINT)
    lines = []
    while (line := talk.line()).startswith("id "):
        lines.append(line)
    assert line.startswith("done cancel ") and len(lines) < 10
    assert talk.ask("stats").startswith("stats ")
    talk.child.send_signal(signal.SIGINT)  # nothing to cancel: ends
    assert talk.end()[0] == 0


@pytest.mark.parametrize(
    "command, what",
    [
        ("prefill 0 3 50", "token id 50 at position 1"),
        ("prefill 0 -1", "token id -1"),
        ("step 0 99999999999", "'99999999999' is not"),
        ("step x 1", "'x' is not"),
        ("step 40 1", "1 tokens at position 40"),
        ("step -1 1", "1 tokens at position -1"),
        ("prefill 38 1 2 3", "3 tokens at position 38"),
        ("step 0 1 2", "2 ids are no step"),
        ("begin 0 0", "2 texts can't begin"),
        ("begin -1", "a text can't begin at position -1"),
        (f"begin {C}", f"a text can't begin at position {C}"),
        (f"expect {C + 1}", f"a text cannot have {C + 1} tokens"),
        ("expect -1", "a text cannot have -1 tokens"),
        ("decode 0 50 3", "token id 50"),
        ("decode 0 1 -3", "unknown or incomplete"),
        ("prefill 0", "unknown or incomplete"),
        ("score 0 /nowhere/x 1", "/nowhere/x can't be written"),
        ("sampling 1 2 3", "unknown or incomplete"),
        (f"sampling {words([0] * 16)}", "the plan has no buffer"),
        ("logprobs 0", "unknown or incomplete"),
        ("logprobs 0 1", "the plan has no buffer"),
        ("sing", "unknown or incomplete command 'sing'"),
    ],
)
def test_bad_commands_leave_it_alive(toy: Toy, talk: Any, command: str, what: str) -> None:
    facts = talk.error(command)
    assert facts["what"].startswith(what) and facts["because"] and facts["hint"]
    assert talk.next("prefill 0 7") == toy.next([7])


def test_score_must_be_asked_for(toy: Toy, start: Start) -> None:
    assert "--phases" in start(toy.folder).error("score 0 file 1")["hint"]


def test_logits_that_are_no_numbers(toy: Toy, start: Start) -> None:
    toy.table[9] = np.inf
    toy.save()
    talk = start(toy.folder)
    assert "position 1 are not numbers" in talk.error("prefill 0 3 9")["what"]
    assert "position 0 are not numbers" in talk.error("decode 0 9 5")["what"]
    assert talk.next("prefill 0 3") == toy.next([3])


def test_stats_and_quit(talk: Any) -> None:
    talk.next("prefill 0 1 2 3")
    talk.decode("decode 3 4 5")
    stats = json.loads(talk.ask("stats").removeprefix("stats "))
    assert stats["dispatches_per_token"] == 5 and stats["decode_tokens"] == 5
    assert stats["host_us_per_token"] > 0 and stats["peak_rss_bytes"] > 1e6
    assert stats["prefill_s"] > 0 and stats["decode_s"] > 0
    talk.send("quit")
    assert talk.end() == (0, "")


def test_end_of_input_ends_it(talk: Any) -> None:
    assert talk.end() == (0, "")


def test_ready_line(talk: Any) -> None:
    keys = {"device", "driver", "platform", "load_s", "arena_bytes", "weight_bytes", "weights"}
    assert keys < set(talk.ready)
    assert (talk.ready["arena_bytes"], talk.ready["state_bytes"]) == (1024, 4 * 40 * 16)


# --- the start -----------------------------------------------------------------------------------


def test_program_cache(toy: Toy, start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "own" / "cache"

    def counts() -> tuple[int, int, int]:
        talk = start(toy.folder, "--cache", str(folder))
        answer = talk.next("prefill 0 3 1 4")
        talk.end()
        return talk.ready["programs_built"], talk.ready["programs_cached"], answer

    expected = toy.next([3, 1, 4])
    assert counts() == (5, 0, expected)
    assert counts() == (0, 5, expected)
    first, second, third, *_ = sorted(folder.iterdir())
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    second.write_bytes(second.read_bytes()[:-5])
    third.write_bytes(b"")
    assert counts() == (3, 2, expected)
    assert counts() == (0, 5, expected)
    assert all(f.suffix == ".bin" for f in folder.iterdir())


def test_without_a_cache(toy: Toy, start: Start) -> None:
    assert start(toy.folder, "--cache", "").ready["programs_cached"] == 0
    assert start(toy.folder, "--cache", "/proc/nowhere").ready["programs_built"] == 5


def test_falls_back_to_the_next_variant(toy: Toy, start: Start) -> None:
    toy.sources["broken"] = "__kernel void broken(__global const int *sym) { nonsense; }\n"
    toy.sources["narrow"] = "__kernel void narrow(__global const int *sym) { }\n"
    toy.save()

    def change(plan: dict[str, Any]) -> None:
        for name in ("broken", "narrow"):
            entry = {"source": f"kernels/{name}.cl", "kernel": name, "defines": []}
            plan["programs"].append(entry)
        for phase in plan["phases"]:
            good = phase["steps"][0]["variants"][0]
            phase["steps"][0]["variants"] = [
                {**good, "program": 5, "requires": ["int_dot"]},
                {**good, "program": 5},
                {**good, "program": 6},
                {**good, "program": 0, "kernel": "embed"},
            ]

    toy.save_json(change)
    talk = start(toy.folder)
    assert talk.next("prefill 0 3 1 4") == toy.next([3, 1, 4])
    code, errors = talk.end()
    assert code == 0 and errors.count("does not build") == 1
    assert "note: kernels/broken.cl (broken) does not build" in errors and "nonsense" in errors
    assert "narrow) takes 1 arguments, the plan gives 4" in errors and "int_dot" not in errors


HUNGRY = """__kernel void hungry(__global const int *sym, __global const int *tokens,
                                     __global const float *table, __global float *x) {
  volatile __local float most[1 << 20];
  most[get_local_id(0)] = x[0];
  x[0] = most[get_local_id(0)];
}
"""


@pytest.mark.parametrize("good_too", [True, False])
def test_a_variant_that_takes_too_much_local_memory_is_left_alone(
    toy: Toy, start: Start, good_too: bool
) -> None:
    """By what the plan says, before it is built; and by what the built kernel takes."""
    toy.sources |= {"never": "what cannot be built\n", "hungry": HUNGRY}
    toy.save()

    def change(plan: dict[str, Any]) -> None:
        for name in ("never", "hungry"):
            entry = {"source": f"kernels/{name}.cl", "kernel": name, "defines": []}
            plan["programs"].append(entry)
        for phase in plan["phases"]:
            good = phase["steps"][0]["variants"][0]
            told = {**good, "program": 5, "local_bytes": 2**30}
            found = {**good, "program": 6, "local_bytes": 64}
            phase["steps"][0]["variants"] = [told, found, *([good] if good_too else [])]

    toy.save_json(change)
    talk = start(toy.folder)
    if good_too:
        assert talk.next("prefill 0 3 1 4") == toy.next([3, 1, 4])
        code, errors = talk.end()
        assert code == 0 and "hungry) takes 4194304 bytes of local memory" in errors
        return
    facts = failure(talk.first)
    assert "never) needs 1073741824 bytes of local memory, the device has" in facts["because"]
    assert "hungry) takes 4194304 bytes of local memory" in facts["because"]


def test_no_variant_builds(toy: Toy, start: Start) -> None:
    toy.sources["pick"] = toy.sources["pick"].replace("int best", "int worst")
    toy.save()
    talk = start(toy.folder)
    facts = failure(talk.first)
    assert facts["what"].startswith("no variant of toy.pick runs on")
    assert "kernels/pick.cl (pick) does not build" in facts["because"]
    assert "best" in facts["because"] and talk.end()[0] == 1


def test_edited_kernel_runs_after_a_note(toy: Toy, start: Start) -> None:
    file = toy.folder / "kernels" / "pick.cl"
    file.write_text(file.read_text() + "// my edit\n")
    talk = start(toy.folder)
    assert talk.next("prefill 0 3 1 4") == toy.next([3, 1, 4])
    assert talk.end() == (0, f"note: {file} was edited after the compile\n")


def test_edited_plan_runs_after_a_note(toy: Toy, start: Start) -> None:
    file = toy.folder / "plan.json"
    file.write_text(file.read_text().replace("toy.embed", "my.embed"))
    assert "plan.json was edited" in start(toy.folder).end()[1]


def test_no_opencl_library(toy: Toy, start: Start) -> None:
    talk = start(toy.folder, "--cl-lib", "/nowhere/libOpenCL.so")
    facts = failure(talk.first)
    assert facts["what"] == "no OpenCL library is here" and "/nowhere" in facts["because"]
    assert talk.end()[0] == 1


def test_not_an_opencl_library(toy: Toy, start: Start) -> None:
    facts = failure(start(toy.folder, "--cl-lib", "libm.so.6").first)
    assert "libm.so.6: clGetPlatformIDs, " in facts["because"]
    assert "clCreateKernel" in facts["because"] and "are missing in it" in facts["because"]


def test_no_device(toy: Toy, start: Start) -> None:
    talk = start(toy.folder, OCL_ICD_VENDORS="/nowhere")
    assert failure(talk.first)["what"] == "OpenCL lists no device" and talk.end()[0] == 1


def test_platform_that_is_not_here(toy: Toy, start: Start) -> None:
    facts = failure(start(toy.folder, "--platform", "no such").first)
    assert facts["what"] == "no OpenCL device matches 'no such'" and "here: " in facts["because"]
    assert "matches 'nor this'" in start(toy.folder, POCKETCL_PLATFORM="nor this").first


def test_unknown_phase(toy: Toy, start: Start) -> None:
    assert "no phase 'draft'" in start(toy.folder, "--phases", "draft").first


def test_buffers_for_fewer_texts_are_refused(toy: Toy, start: Start) -> None:
    def change(plan: dict[str, Any]) -> None:
        plan["model"]["batch"] = 2
        plan["symbols"][3]["length"] = 2
        for buffer in plan["buffers"]:
            buffer["bytes"] *= 2

    toy.save_json(change)
    facts = failure(start(toy.folder).first)
    assert facts["what"] == "the plan's buffer tokens is too small" and facts["hint"]


def test_alignment_of_another_device(toy: Toy, start: Start) -> None:
    toy.save_json(lambda plan: plan["profile"].update(align=4))
    assert "does not fit this device" in start(toy.folder).first


def test_version_devices_and_usage(program: Path, start: Start, toy: Toy) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run([program, *arguments], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    assert run("--version")[1].startswith("pocketcl-runner 0.1.0")
    assert run()[0] == 2 and run("a", "b")[0] == 2 and run("--what", "a")[0] == 2
    assert "usage:" in run()[2] and "usage:" in run("--help")[1]
    listed = json.loads(start(toy.folder, "--devices").first)["devices"]
    assert {"name", "driver", "align", "features", "type"} <= set(listed[0])


OCLGRIND = Path("/usr/lib/oclgrind/liboclgrind-rt-icd.so")


@pytest.mark.oclgrind
@needs(OCLGRIND.exists(), "Oclgrind is not installed (apt install oclgrind)")
def test_memory_that_is_not_shared(toy: Toy, start: Start, tmp_path: Path) -> None:
    """Oclgrind's device has its own memory, and checks every call and every access."""
    (tmp_path / "oclgrind.icd").write_text(f"{OCLGRIND}\n")
    checks = {"OCLGRIND_CHECK_API": "1", "OCLGRIND_DATA_RACES": "1"}
    talk = start(toy.folder, "--phases", "score", OCL_ICD_VENDORS=str(tmp_path), **checks)
    assert talk.ready["weights"] == "uploaded"
    first = talk.next(f"prefill 0 {words(TEXT)}")
    ids, _ = talk.decode(f"decode {len(TEXT)} {first} 3")
    assert [first, *ids] == toy.continued(TEXT, 4)
    assert talk.ask(f"score 0 {tmp_path / 'scores'} {words(TEXT)}").startswith("ok ")
    talk.send("quit")
    assert talk.end() == (0, "")
