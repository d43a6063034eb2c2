"""A plan on a phone: the same answers as here, files to and fro, and why a run ended."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from commands import call, figures, sessions
from device import Device
from flash_toy import FlashToy
from patience import wait_for, wait_for_end

from toolkit.errors import PocketError
from toolkit.executors.phone_target import PhoneTarget
from toolkit.executors.runner import RunnerExecutor
from toolkit.generation.session import Session
from toolkit.phone.adb import Gone, find_phone
from toolkit.phone.layout import HOME

PROMPT = [0, 377, 379]


@pytest.fixture
def session(warm_phone: Device, demo: Path) -> Any:
    with Session(demo, "phone") as opened:
        yield opened


# --- answers -------------------------------------------------------------------------------------


def test_a_phone_says_what_the_desktop_says(warm_phone: Device, demo: Path) -> None:
    here = figures("run", demo, "--ids", "0,377,379", "--max-new-tokens", 24)
    first = figures("run", demo, "--on", "phone", "--ids", "0,377,379", "--max-new-tokens", 24)
    warm_phone.received.clear()
    again = figures("run", demo, "--on", "phone", "--ids", "0,377,379", "--max-new-tokens", 24)
    assert here["ids"] == first["ids"] == again["ids"]
    assert here["text"] == first["text"]
    assert again["phone"]["pushed_bytes"] == again["phone"]["pushed_files"] == 0
    assert again["phone"]["serial"] == warm_phone.serial
    assert sum(warm_phone.received.values()) == 0
    assert "phone" not in here
    assert sessions(warm_phone) == []


def test_records_are_read_on_the_phone(warm_phone: Device, tmp_path: Path) -> None:
    """Files of tables go there as weights do, and a point is chosen there."""
    toy = FlashToy(tmp_path / "flash toy")
    executor = RunnerExecutor(toy.folder, target=PhoneTarget(), memory=100_000)
    first = executor.prefill([3, 1, 4], 0)
    ids = list(executor.decode(first, 3, 5, ()))
    reads = executor.stats()["tables"]["reads"]
    executor.close()
    assert [first, *ids] == toy.continued([3, 1, 4], 6) and reads > 5


@pytest.mark.slow
def test_an_edited_kernel_is_used(warm_phone: Device, demo: Path, tmp_path: Path) -> None:
    call("run", demo, "--on", "phone", "--ids", 1, "--max-new-tokens", 1)
    plan = Path(shutil.copytree(demo, tmp_path / "edited.plan"))
    kernel = plan / "kernels/embed.cl"
    kernel.write_text(f"// {os.urandom(8).hex()}\n{kernel.read_text()}")
    warm_phone.received.clear()
    found = call("run", plan, "--on", "phone", "--ids", 1, "--max-new-tokens", 1, "--json")
    assert f"note: {kernel} was edited" in found.stderr
    assert sum(warm_phone.received.values()) == kernel.stat().st_size
    assert json.loads(found.stdout)["phone"]["pushed_files"] == 1


@pytest.mark.slow
def test_verify_and_eval_give_the_desktops_figures(
    warm_phone: Device, demo: Path, tmp_path: Path
) -> None:
    here, there = figures("verify", demo), figures("verify", demo, "--on", "phone")
    assert there["ok"]
    assert (there["cases"], there["original"]) == (here["cases"], here["original"])
    text = tmp_path / "text.txt"
    text.write_text(
        "Once upon a time there was a little dog. It ran to the park and saw a cat. " * 8
    )
    options = ("eval", demo, "--text", text, "--no-reference")
    here, there = figures(*options), figures(*options, "--on", "phone")
    assert there["perplexity"] == here["perplexity"] and there["executor"] == "phone"


@pytest.mark.slow
def test_bench_says_which_phone(warm_phone: Device, demo: Path) -> None:
    options = ("--prompt-tokens", 8, "--new-tokens", 4, "--repeats", 2, "--ui")
    found = figures("bench", demo, "--on", "phone", *options)
    assert found["ui"]["idle"]["frames"] and found["ui"]["idle"]["longest_ms"] > 0
    assert found["executor"] == "phone" and found["phone"]["model"] == "PocketCL Loopback"
    assert found["decode_tokens_per_s"] > 0 and found["load"]["cold_s"] > 0
    assert found["kernel_span_us"]["decode"] > 0
    assert find_phone().shell(f"ls {HOME}/cold") == ""
    assert "--compare" in call("bench", demo, "--on", "phone", "--compare", "onnxruntime").stderr


def test_a_state_travels(session: Session, tmp_path: Path, demo: Path) -> None:
    """What a phone saved goes on here, and the other way round."""
    told = list(session.generate(PROMPT, 12))
    session.rewind(len(PROMPT) + 8)
    session.save_state(tmp_path / "phone.state", {"from": "the phone"})
    with Session(demo, "runner") as here:
        assert here.load_state(tmp_path / "phone.state") == {"from": "the phone"}
        assert list(here.generate(here.resume(here.history), 4)) == told[8:]
        here.rewind(len(PROMPT) + 4)
        here.save_state(tmp_path / "here.state")
    assert session.load_state(tmp_path / "here.state") == {}
    assert list(session.generate(session.resume(session.history), 8)) == told[4:]
    assert {path.name for path in tmp_path.iterdir()} >= {"phone.state", "here.state"}
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_a_bad_state_is_named_as_it_is_called_here(session: Session, tmp_path: Path) -> None:
    bad = tmp_path / "my.state"
    bad.write_text("no state")
    with pytest.raises(PocketError) as error:
        session.load_state(bad)
    assert str(bad) in error.value.what
    with pytest.raises(PocketError, match="can't be read"):
        session.load_state(tmp_path / "none.state")
    list(session.generate(PROMPT, 2))
    with pytest.raises(PocketError) as error:
        session.save_state(tmp_path / "no" / "folder.state")
    assert "folder.state" in error.value.what


def test_chat_from_a_pipe(warm_phone: Device, demo: Path) -> None:
    command = [sys.executable, "-m", "toolkit", "chat", str(demo), "--on", "phone", "--json"]
    text = "Once upon a time\n/stats\nThe dog\n"
    done = subprocess.run(
        [*command, "--max-new-tokens", "6"], input=text, capture_output=True, text=True, timeout=120
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert [line.get("turn") for line in lines] == [1, None, 2]
    assert lines[0]["answer"] if "answer" in lines[0] else lines[0]["ids"]


def test_ids_come_as_they_are_made(session: Session) -> None:
    steps = session.generate(PROMPT, 64)
    next(steps)
    steps.close()
    assert session.stop_reason == "cancel"
    assert list(session.generate([5], 3))  # the runner lives


# --- ends ----------------------------------------------------------------------------------------


def test_a_killed_runner_is_explained_by_memory(session: Session, warm_phone: Device) -> None:
    list(session.generate(PROMPT, 2))
    os.kill(sessions(warm_phone)[0], signal.SIGKILL)
    with pytest.raises(PocketError) as error:
        list(session.generate([5], 3))
    assert "killed" in error.value.what and "Loopback" in error.value.what.title()
    assert "exit code 137" in error.value.because and "MiB are free" in error.value.because
    assert "--max-context" in error.value.hint


def test_a_crash_is_the_drivers(session: Session, warm_phone: Device) -> None:
    pid = sessions(warm_phone)[0]
    journal = warm_phone.root.locate(f"{HOME}/cache/journal.{pid}")
    journal.write_text(f"{pid} build {'0' * 64} building gemv.cl (gemv)\n")
    os.kill(pid, signal.SIGSEGV)
    with pytest.raises(PocketError) as error:
        list(session.generate(PROMPT, 2))
    assert "driver crashed while it was building gemv.cl (gemv)" in error.value.what
    assert "exit code 139" in error.value.because
    wait_for_end(pid)


def test_a_phone_that_is_unplugged_while_it_runs(session: Session, warm_phone: Device) -> None:
    pid = sessions(warm_phone)[0]
    steps = session.generate(PROMPT, 200)
    next(steps)
    warm_phone.unplug()
    with pytest.raises(Gone) as error:
        list(steps)
    assert warm_phone.serial in error.value.what
    wait_for_end(pid)  # the phone's side ends too


def test_no_runner_stays_when_adb_dies(session: Session, warm_phone: Device) -> None:
    pid = sessions(warm_phone)[0]
    cast(RunnerExecutor, session.executor)._alive()._child.kill()
    with pytest.raises(PocketError):
        list(session.generate(PROMPT, 2))
    wait_for_end(pid)


def test_no_runner_stays_when_its_pocketcl_dies(
    warm_phone: Device, demo: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "toolkit", "chat", str(demo), "--on", "phone"]
    chat = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    wait_for(lambda: sessions(warm_phone), "a session on the phone")
    pid = sessions(warm_phone)[0]
    chat.kill()
    chat.wait()
    wait_for_end(pid)
    call("run", demo, "--on", "phone", "--ids", 1, "--max-new-tokens", 1)
    assert sessions(warm_phone) == []  # the next run removes what the killed one left


def test_ctrl_c_keeps_the_text_and_ends_the_runner(warm_phone: Device, demo: Path) -> None:
    command = [sys.executable, "-m", "toolkit", "run", str(demo), "--on", "phone"]
    options = ["--ids", "0,377,379", "--max-new-tokens", "300"]
    call("run", demo, "--on", "phone", "--ids", 1, "--max-new-tokens", 1)  # nothing is to be pushed
    warm_phone.faults.bytes_per_second = 2000  # a token takes a while to come
    # Without a buffer, in which communicate() would leave what read() took too much.
    run = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, bufsize=0)
    assert run.stdout
    assert run.stdout.read(4)
    run.send_signal(signal.SIGINT)
    rest = run.communicate(timeout=60)[0]
    assert run.returncode == 1 and rest.endswith(b"\n")
    assert sessions(warm_phone) == []


LISTED = '{"library": "x", "devices": [{"name": "a", "platform": "Portable", "driver": "1"}]}'
FAKE = f"#!/bin/sh\ncase $1 in --devices) echo '{LISTED}';; *) SCRIPT;; esac\n"


@pytest.mark.parametrize(
    "script, what, because",
    [
        ("exit 126", "can't be started", "126"),
        ("exit 127", "is not there", "127"),
        (
            'echo \'CANNOT LINK EXECUTABLE "x": library "y" not found\' >&2; exit 1',
            "be loaded",
            "y",
        ),
        ("kill -ABRT $$", "driver crashed", "134"),
        ("kill -BUS $$", "driver crashed", "135"),
        ("kill -TERM $$", "was ended", "143"),
        ("echo 'last words' >&2; exit 9", "ended unexpectedly", "last words"),
    ],
)
def test_exit_codes_in_words(
    warm_phone: Device,
    demo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    what: str,
    because: str,
) -> None:
    runner = tmp_path / "runner"
    runner.write_text(FAKE.replace("SCRIPT", script))
    runner.chmod(0o755)
    monkeypatch.setenv("POCKETCL_PHONE_RUNNER", str(runner))
    with pytest.raises(PocketError) as error:
        Session(demo, "phone")
    assert what in error.value.what and because in error.value.because and error.value.hint
    assert sessions(warm_phone) == []


def test_several_phones_need_a_name(
    two_phones: tuple[Device, Device], demo: Path, own_runner: Path
) -> None:
    result = call("run", demo, "--on", "phone", "--ids", "1")
    assert result.exit_code == 1 and "--serial" in result.stderr
    assert all(phone.serial in result.stderr for phone in two_phones)
    assert call("run", demo, "--serial", "x", "--ids", "1").exit_code == 2


def test_clean_leaves_what_runs(session: Session, warm_phone: Device, demo: Path) -> None:
    before = figures("phone", "list")["phones"][0]["used"]
    assert before["sessions"] == 1 and before["plans"] >= 1
    kept = figures("phone", "clean", "--all")
    assert kept["running"] == sessions(warm_phone)
    assert list(session.generate(PROMPT, 4))
    session.close()
    freed = figures("phone", "clean")
    assert freed["freed_bytes"] > 5_000_000 and freed["running"] == []
    assert figures("phone", "list")["phones"][0]["used"]["bin"] == 1
    figures("phone", "clean", "--all")
    assert not warm_phone.root.locate(HOME).exists()
    assert "0.0 MiB freed" in call("phone", "clean").stdout


@pytest.mark.slow
def test_bench_on_every_phone(
    warm_phone: Device, make_phone: Any, demo: Path, warm_data: Path
) -> None:
    """One of them can't: the others' figures are told all the same."""
    make_phone("old", **{"ro.build.version.sdk": "25", "ro.product.cpu.abi": "arm64-v8a"})
    options = ("--prompt-tokens", 4, "--new-tokens", 4, "--repeats", 1)
    result = call("bench", demo, "--on", "phone", "--serial", "all", *options, "--json")
    found = {entry["phone"]["serial"]: entry for entry in json.loads(result.stdout)}
    assert result.exit_code == 1 and len(found) == 2
    assert found.pop(warm_phone.serial)["decode_tokens_per_s"] > 0
    assert "too old" in next(iter(found.values()))["error"]["what"]


def test_threads_can_share_an_adb(warm_phone: Device) -> None:
    found, said = find_phone(), list[str]()
    threads = [
        threading.Thread(target=lambda n=n: said.append(found.shell(f"echo {n}"))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [f"{n}\n" for n in range(8)]
