"""Doctor finds what is missing and names the command that mends it."""

from pathlib import Path
from typing import Any

import pytest

from toolkit.cli import doctor
from toolkit.cli.checks import Check
from toolkit.cli.doctor_phone import phone_checks
from toolkit.devices import opencl


def named(name: str) -> Check:
    return next(check for check in doctor.checks() if check.name == name)


def test_every_failing_check_has_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(opencl, "opencl_devices", list)
    monkeypatch.setattr(doctor, "_version", lambda package: None)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("ADB", raising=False)
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # nor in a wheel
    failing = [check for check in (*doctor.checks(), *phone_checks()) if not check.ok]
    assert {check.name for check in failing} >= {"opencl", "linker", "compiler", "adb", "packages"}
    assert all(check.remedy for check in failing)


def test_phones_are_optional_unless_one_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert [check.name for check in doctor.checks() if not check.needed] == ["android"]
    monkeypatch.setenv("ADB", str(tmp_path / "none"))
    assert [check.needed for check in phone_checks()] == [False]
    assert [check.needed for check in phone_checks("R5CT")] == [True]


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    check = named("cache")
    assert not check.ok and "XDG_CACHE_HOME" in check.remedy


def test_a_driver_that_dies_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'ld: not found' >&2\nkill -ABRT $$\n")
    fake.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(fake))
    check = named("launch")
    assert not check.ok and check.detail == "ld: not found"


def test_a_driver_older_than_the_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nprintf \"error: unknown target CPU 'x'\\nmore\\n\" >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(fake))
    check = named("launch")
    assert "older" in check.detail and "apt-get" in check.remedy


def test_a_kernel_runs_here() -> None:
    check = named("launch")
    assert check.ok, check.detail


def test_lines_end_with_what_to_do() -> None:
    found: list[dict[str, Any]] = [
        {"name": "a", "ok": True, "detail": "x", "remedy": "", "needed": True},
        {"name": "b", "ok": False, "detail": "y", "remedy": "apt-get install b", "needed": True},
    ]
    lines = list(doctor.lines(found))
    assert lines[1].startswith("MISSING") and "apt-get install b" in lines[-1]
