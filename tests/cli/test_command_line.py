"""The promises of the command line: exit codes, clear errors, figures as JSON, a quick --help."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import toolkit
from toolkit import cli
from toolkit.errors import PocketError

COMMANDS = ("demo", "devices", "doctor", "inspect", "compile", "verify", "run", "chat", "bench")
POCKETCL = [sys.executable, "-m", "toolkit"]


def call(*args: str, **options: Any) -> Result:
    return CliRunner().invoke(cli.cli, args, **options)


def error_of(result: Result) -> list[str]:
    """The lines of an error of ours: exit code 1 and three facts, no traceback."""
    lines = result.stderr.splitlines()
    assert result.exit_code == 1, result.output
    assert [line[:11] for line in lines[1:]] == ["  because: ", "  try:     "], result.stderr
    assert lines[0].startswith("Error: ")
    return lines


def test_help_answers_in_under_300_ms() -> None:
    """Of a processor's time: what else runs here takes none of it."""

    def spent() -> float:
        used = os.times()
        return used.children_user + used.children_system

    def once() -> float:
        before = spent()
        subprocess.run([*POCKETCL, "--help"], check=True, capture_output=True)
        return spent() - before

    assert min(once() for _ in range(3)) < 0.3


def test_help_loads_nothing_heavy() -> None:
    code = "import sys, toolkit.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "onnx", "onnx_ir", "sympy", "pyopencl", "yaml"} & set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0 and "--json" in result.output


def test_version() -> None:
    assert toolkit.__version__ in call("--version").output


@pytest.mark.parametrize(
    "args",
    [
        ["unknown"],
        ["compile"],
        ["compile", "no-such-file.onnx", "-o", "x"],
        ["compile", "tests", "x.plan"],
        ["verify", "no-such-plan"],
        ["run", "tests"],
        ["run", "tests", "--prompt", "a", "--ids", "1"],
        ["run", "tests", "--ids", "1", "--on", "cloud"],
        ["run", "tests", "--ids", "1", "--max-new-tokens", "0"],
        ["compile", "tests", "-o", "x", "--calibrate", "no-such-file"],
        ["compile", "tests", "-o", "x", "--weights", "f8"],
        ["compile", "tests", "-o", "x", "--memory", "much"],
    ],
)
def test_usage_errors_exit_with_2(args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    result = call(*args)
    assert result.exit_code == 2 and "Error: " in result.stderr


@pytest.mark.parametrize("command", ["verify", "bench", "run"])
def test_a_folder_that_is_no_plan(command: str, tmp_path: Path) -> None:
    more = ["--ids", "1"] if command == "run" else []
    lines = error_of(call(command, str(tmp_path), "--on", "host", *more))
    assert "is not a plan" in lines[0]


def test_a_plan_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text("{")
    assert "plan.json" in error_of(call("inspect", str(tmp_path)))[0]


@pytest.mark.parametrize("text", ["", "not a model", "\x08\x07" * 50])
def test_a_file_that_is_no_model(text: str, tmp_path: Path) -> None:
    model, plan = tmp_path / "model.onnx", tmp_path / "x.plan"
    model.write_text(text)
    assert str(model) in error_of(call("inspect", str(model)))[0]
    assert str(model) in error_of(call("compile", str(model), "-o", str(plan)))[0]
    assert list(tmp_path.iterdir()) == [model]


def test_ids_that_are_none(tmp_path: Path) -> None:
    assert "'1,x'" in error_of(call("run", str(tmp_path), "--ids", "1,x"))[0]


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def overview() -> None:
        raise error

    monkeypatch.setattr("toolkit.devices.resolve.overview", overview)


def test_errors_have_three_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, PocketError("it broke", "of a reason", "another way"))
    expected = ["Error: it broke", "  because: of a reason", "  try:     another way"]
    assert error_of(call("devices")) == expected


def test_errors_of_lower_layers_look_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class LayerError(ValueError):
        what, because, hint = "no kernel", "none is written", "--on host"

    fails_with(monkeypatch, LayerError())
    assert error_of(call("devices"))[0] == "Error: no kernel"


def test_a_bug_is_one_error_and_tells_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POCKETCL_DEBUG", raising=False)
    fails_with(monkeypatch, KeyError("x"))
    lines = error_of(call("devices"))
    assert "KeyError: 'x'" in lines[0] and "POCKETCL_DEBUG=1" in lines[2]


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POCKETCL_DEBUG", "1")
    fails_with(monkeypatch, KeyError("x"))
    assert isinstance(call("devices").exception, KeyError)


def test_a_full_disk_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, OSError(28, "No space left on device", "/plan/weights.0.bin"))
    lines = error_of(call("devices"))
    assert "/plan/weights.0.bin" in lines[0] and "No space left on device" in lines[1]


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, KeyboardInterrupt())
    result = call("devices")
    assert (result.exit_code, result.stderr.strip()) == (1, "Aborted!")


def test_a_closed_pipe_is_no_traceback() -> None:
    done = subprocess.run(
        f"{' '.join(POCKETCL)} devices --json | head -c 1",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""


def test_devices_as_json() -> None:
    figures = json.loads(call("devices", "--json").stdout)
    assert set(figures) >= {"opencl", "phones", "profiles"}


def test_doctor_as_json() -> None:
    result = call("doctor", "--json")
    checks = json.loads(result.stdout)["checks"]
    assert all(set(check) >= {"name", "ok", "detail", "remedy"} for check in checks)
    assert result.exit_code == int(not all(check["ok"] or not check["needed"] for check in checks))


def stderr_on_a_terminal(*args: str) -> str:
    """What a command writes to stderr where that is a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*POCKETCL, *args], stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        process.communicate()
    try:
        return os.read(ours, 1 << 16).decode()
    finally:
        os.close(ours)


def test_progress_is_shown_on_a_terminal_only_and_cleared() -> None:
    shown = stderr_on_a_terminal("doctor", "--json")
    assert "checked: opencl" in shown and shown.endswith("\r\x1b[2K")
    assert call("doctor", "--json").stderr == ""
